"""`runs` lists what the server keeps, writes results, and deletes."""

import json
import shutil

from lmm_classifier.data.synthetic.catalog import UNKNOWN
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.review.active_runs import ActiveRuns
from lmm_classifier.review.reviewer import UPLOAD, Reviewer
from lmm_classifier.review.storage.database import ReviewDatabase
from lmm_classifier.review.storage.run_store import RunStore
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset, offline_config


def test_runs_are_listed_and_deleted(editable):
    """An index without runs has none; a run that is not there is an error."""

    def runs(*arguments, code=0):
        return run("runs", *arguments, "--config", OFFLINE, cwd=editable, code=code).stdout

    assert runs() == "no runs\n"
    assert runs("--json") == "[]\n"
    (editable / "new").mkdir()
    shutil.copy(editable / "photo.png", editable / "new/photo.png")
    with HybridClassifier(offline_config(editable / "index")) as classifier, Reviewer(classifier) as reviewer:
        for _ in range(2):
            reviewer.classify_folder(editable / "new")
    lines = runs().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["2", "1"]
    assert lines[0].endswith(str(editable / "new"))
    assert "  drift not tested  " in lines[0] or "  no drift found  " in lines[0]
    assert [entry["id"] for entry in json.loads(runs("--json"))] == [2, 1]
    (result,) = map(json.loads, runs("--results", "1").splitlines())
    assert (result["name"], result["decision"]) == ("photo.png", None)
    assert runs("--delete", "1") == "1 runs deleted\n"
    assert runs("--purge-before", "2000-01-01", "--json") == "[]\n"
    assert runs("--purge-before", "2100-01-01", "--json") == "[2]\n"
    database = ReviewDatabase(editable / "index")
    begun = RunStore(database).create({"kind": "folder", "folder": str(editable / "new")}, 5).id
    assert runs().split("  ")[2] == "interrupted"  # its server was killed
    with ActiveRuns(editable / "index").working(begun):
        assert runs().split("  ")[2] == json.loads(runs("--json"))[0]["state"] == "running"
    database.close()
    assert runs("--delete", str(begun)) == "1 runs deleted\n"
    assert not [file.name for file in (editable / "index").glob("run-*")]
    runs("--results", "1", code=1)
    runs("--delete", "1", "--results", "2", code=1)


def test_a_drift_alarm_is_listed(editable):
    """With the images that are most evidence, indented; JSON has all of it."""
    draw_dataset(editable / "new", UNKNOWN, count=8, seed=3, size=48)
    with HybridClassifier(offline_config(editable / "index")) as classifier, Reviewer(classifier) as reviewer:
        reviewer.classify_folder(editable / "new")
        reviewer.runs.create(UPLOAD)
    untested, line, *evidence = run("runs", "--config", OFFLINE, cwd=editable).stdout.splitlines()
    assert "  drift not tested  " in untested
    assert "  drift alarm at image " in line
    assert evidence[0].startswith("    drift: the images changed, they are less familiar; alarm at image ")
    assert evidence[1] == "    images with the most evidence:"
    assert len(evidence) > 3
    empty, entry = json.loads(run("runs", "--json", "--config", OFFLINE, cwd=editable).stdout)
    assert empty["drift"] is None
    assert entry["drift"]["is_alarm"]
    assert evidence[2].strip().startswith(f"{entry['drift']['evidence'][0]['name']}: familiarity -")
