"""What an edit and its undo must leave as they were."""

from dataclasses import replace

from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.staleness import stale_parts
from lmm_classifier.index.storage.editing.label_totals import groups_digest, totals_of
from lmm_classifier.index.storage.records import contents_digest
from lmm_classifier.index.storage.store import Store


def everything(path):
    """All that an undo restores: digests, rows with their times and provenance, marks, dismissals, images."""
    with Store(path) as store:
        state = store.state
        added = {file.name: file.read_bytes() for file in store.added_folder.glob("*")}
        return {
            "state": (
                state.digest,
                state.contents,
                state.groups,
                state.manifest["count"],
                state.manifest["image_root"],
            ),
            "examples": [replace(record, stamp=0) for record in store.records()],  # a sync may know it better
            "removed": store.removed(),
            "dismissals": store.dismissals(),
            "labels": store.label_counts(),
            "added": added,
        }


def assert_consistent(path):
    """Numbers that edits update are those of the rows, and the doctor finds no damage."""
    with Store(path) as store:
        records, state = store.records(), store.state
        totals = totals_of(records)
        assert state.digest == sum(record.digest for record in records) % 2**64
        assert state.contents == contents_digest(record.content_hash for record in records)
        assert state.groups == groups_digest(totals)
        assert store.label_counts() == {label: count for label, (count, _) in sorted(totals.items())}
        assert state.manifest["count"] == len(records)
        assert store.stale_parts() == stale_parts(read_index(path))
    normal = ("is missing", "are missing", "transform was fitted", "not images")  # of the dataset, not of the index
    assert [finding.what for finding in check_index(path) if not any(text in finding.what for text in normal)] == []
