"""`runs` lists what the server keeps, writes results, and deletes."""

import json
import shutil

from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.review.active_runs import ActiveRuns
from lmm_classifier.review.reviewer import Reviewer
from lmm_classifier.review.storage.database import ReviewDatabase
from lmm_classifier.review.storage.run_store import RunStore
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import offline_config


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
