"""The mutation tests (`make mutants`) in short, and their list of changes that no test can notice."""

import subprocess
import sys

import pytest
import yaml

from tests.helpers.paths import ROOT

LIST = ROOT / "tests" / "equivalent_mutants.yaml"


def test_each_listed_change_is_of_a_line_of_its_module():
    """An entry goes when its line does, and says why no test can notice the change."""
    gone = []
    for path, entries in yaml.safe_load(LIST.read_text(encoding="utf-8")).items():
        lines = [line.strip() for line in (ROOT / path).read_text(encoding="utf-8").splitlines()]
        gone += [f"{path}: {entry['before']}" for entry in entries if entry["before"] not in lines]
        for entry in entries:
            assert entry["after"] == "any" or entry["before"] not in entry["after"]
            assert entry["reason"].endswith(".")
    assert gone == []


@pytest.mark.long
def test_changes_of_the_policy_are_noticed():
    """The command tries them in processes of its own, prints a table, and leaves no file changed."""
    pytest.importorskip("cosmic_ray")
    command = [sys.executable, "-m", "benchmarks.mutants", "--count", "8", "--only", "policy.py", "--jobs", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pipeline/policy.py" in done.stdout
    assert "mutants are killed" in done.stdout


@pytest.mark.long
def test_a_change_that_no_test_notices_is_reported():
    """The list is compared with what survives: an entry that is wrong or out of date is named."""
    pytest.importorskip("cosmic_ray")
    from benchmarks.mutants.mutations import draw
    from benchmarks.mutants.survivors import ANY, is_listed, read_equivalents, stale

    equivalents = read_equivalents(ROOT)
    assert stale(ROOT, equivalents) == []
    path = "lmm_classifier/rerank/fusion.py"
    gone = (path, "no such line", ANY)
    assert stale(ROOT, {gone: "It is gone."}) == [gone]
    mutants = draw(ROOT, path, None, 0)
    assert draw(ROOT, path, 9, 1) == draw(ROOT, path, 9, 1) != draw(ROOT, path, 9, 2)
    explained = [mutant for mutant in mutants if is_listed(mutant, equivalents)]
    assert {"_STEPS = 51", "continue"} <= {mutant.after.split("  #")[0] for mutant in explained}
    assert len(explained) < len(mutants) / 2
