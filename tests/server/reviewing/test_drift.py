"""After an alarm the images with the most evidence name their items."""

from lmm_classifier.review.storage.database import ReviewDatabase
from lmm_classifier.review.storage.drift_store import DriftStore
from lmm_classifier.review.storage.records import NewItem
from lmm_classifier.review.storage.run_store import RunStore
from lmm_classifier.server.reviewing.drift import drift_values

NAME = "<b>\udcff.png"


def test_images_name_their_items(place):
    """By their names in the run; without an alarm, and for a name that is gone, there is no item."""
    database = ReviewDatabase(place / "index")
    runs, store = RunStore(database), DriftStore(database)
    first, second = (runs.create({"kind": "upload"}).id for _ in range(2))
    result = {"reason": "novel", "label": "unknown"}
    (other,) = runs.add(first, [NewItem(NAME, "a" * 64, result, 1)])
    ids = runs.add(second, [NewItem(NAME, "b" * 64, result, 1), NewItem(NAME, "c" * 64, result, 1)])
    report = {"is_alarm": True, "evidence": [{"name": NAME, "p": 0.1}, {"name": "gone", "p": 0.2}]}
    found = drift_values(report, second, store)["evidence"]
    assert found[0] == {"name": NAME, "p": 0.1, "item": ids[0], "content_hash": "b" * 64}
    assert found[1] == {"name": "gone", "p": 0.2, "item": None, "content_hash": None}
    assert drift_values(report, first, store)["evidence"][0]["item"] == other
    assert drift_values({**report, "is_alarm": False}, first, store)["evidence"][0]["item"] is None
    assert drift_values(None, first, store) is None
    database.close()
