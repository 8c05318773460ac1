"""The plan of a sync: what becomes of each example, which changes are reported, and that the plan adds up."""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.index.build.sync_plan import ScannedFile, plan_sync
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.storage.records import BY_HAND, FROM_FOLDER, Record

NOW, FORMER = "2026-02-02", "2026-01-01"


def record(path, content, label=None, provenance=FROM_FOLDER):
    return Record(path, label or path.split("/")[0], content, 1, 1, FORMER, provenance)


def file(path, content, mtime=1):
    return ScannedFile(path, path.split("/")[0], content, 1, mtime)


def plan(records, files, removed=None, existing=()):
    return plan_sync(records, files, removed or {}, set(existing).__contains__, NOW)


def became(plan):
    return {record.path: (record.label, record.content_hash, record.added, record.provenance) for record in plan.final}


def test_nothing_changed():
    """No example is written, and each counts as unchanged."""
    records = [record("a/1", "x"), record("b/1", "y")]
    made = plan(records, [file("a/1", "x"), file("b/1", "y")])
    assert (made.put, made.touched, made.drop, made.final) == ([], [], [], records)
    assert made.changes.unchanged == 2
    assert not made.changes.any


def test_added_removed_and_replaced():
    """A new example has the time of the sync, and so has one whose content is another."""
    made = plan([record("a/1", "x"), record("a/2", "y")], [file("a/2", "z"), file("b/1", "v")])
    assert made.changes.added == ("b/1",)
    assert made.changes.removed == ("a/1",)
    assert made.changes.replaced == ("a/2",)
    assert made.changes.unchanged == 0
    assert made.drop == ["a/1"]
    assert became(made) == {"a/2": ("a", "z", NOW, FROM_FOLDER), "b/1": ("b", "v", NOW, FROM_FOLDER)}
    assert made.put == made.final


def test_a_file_written_again_with_the_same_content_is_only_touched():
    """Its size and time are stored, and no change is reported."""
    made = plan([record("a/1", "x"), record("a/2", "y")], [file("a/1", "x", mtime=9), file("a/2", "y")])
    assert (made.put, made.drop) == ([], [])
    assert made.touched == [replace(record("a/1", "x"), stamp=9)]
    assert made.final[0].stamp == 9
    assert not made.changes.any


def test_a_renamed_file_keeps_its_date():
    """Renamed in its folder, and moved to another, which relabels it."""
    made = plan([record("a/1", "x"), record("a/2", "y")], [file("a/9", "x"), file("b/2", "y")])
    assert made.changes.renamed == (("a/1", "a/9"), ("a/2", "b/2"))
    assert made.changes.relabeled == (("b/2", "a", "b"),)
    assert (made.changes.added, made.changes.removed, made.changes.unchanged) == ((), (), 0)
    assert made.drop == ["a/1", "a/2"]
    assert became(made) == {"a/9": ("a", "x", FORMER, FROM_FOLDER), "b/2": ("b", "y", FORMER, FROM_FOLDER)}


def test_two_files_that_change_names_drop_no_example():
    """Both ids stay, so that neither is dropped, and each example goes with its content."""
    made = plan([record("a/1", "x"), record("a/2", "y")], [file("a/1", "y"), file("a/2", "x")])
    assert sorted(made.changes.renamed) == [("a/1", "a/2"), ("a/2", "a/1")]
    assert made.drop == []
    assert {record.path: record.content_hash for record in made.final} == {"a/1": "y", "a/2": "x"}


def test_a_label_given_by_hand_stays_while_the_file_stays_in_its_folder():
    """Also when the file is renamed there; in another folder it has the label of that."""
    by_hand = record("a/1", "x", "c", BY_HAND)
    for path, label, provenance in (("a/1", "c", BY_HAND), ("a/9", "c", BY_HAND), ("b/1", "b", FROM_FOLDER)):
        made = plan([by_hand], [file(path, "x")])
        assert became(made) == {path: (label, "x", FORMER, provenance)}
        assert bool(made.changes.relabeled) == (label == "b")
    assert became(plan([by_hand], [file("a/1", "y")])) == {"a/1": ("a", "y", NOW, FROM_FOLDER)}


def test_an_image_added_by_hand_stays_until_its_content_is_in_the_dataset():
    """Then the file of the dataset takes its place, with the label of its folder."""
    added = record(f"{ADDED}1.png", "x", "c", BY_HAND)
    assert became(plan([added], [])) == {added.path: ("c", "x", FORMER, BY_HAND)}
    assert plan([added], []).drop == []
    made = plan([added], [file("a/1", "x")])
    assert became(made) == {"a/1": ("a", "x", FORMER, FROM_FOLDER)}
    assert made.drop == [added.path]
    assert made.changes.renamed == ((added.path, "a/1"),)
    assert made.changes.removed == ()
    assert made.changes.relabeled == (("a/1", "c", "a"),)


def test_an_example_whose_file_may_exist_stays():
    """A file that was not found for a passing reason loses nothing; one added by hand is not asked about."""
    made = plan([record("a/1", "x"), record("a/2", "y")], [], existing=["a/1"])
    assert [record.path for record in made.final] == ["a/1"]
    assert made.drop == ["a/2"]
    assert made.changes.unchanged == 1
    moved = plan([record("a/1", "x")], [file("a/2", "x")], existing=["a/1"])
    assert moved.changes.added == ("a/2",)  # two files, although of one content
    assert [record.path for record in moved.final] == ["a/1", "a/2"]
    added = record(f"{ADDED}1.png", "x", "a", BY_HAND)
    assert plan([added], [file("a/1", "x")], existing=[added.path]).drop == [added.path]


def test_what_a_person_removed_is_not_added_again():
    """Under no name, unless the index has the content elsewhere: then only under its former names."""
    removed = {"x": {"a/1"}}
    gone = plan([], [file("a/1", "x"), file("b/7", "x"), file("b/1", "y")], removed)
    assert gone.changes.left_out == ("a/1", "b/7")
    assert [record.path for record in gone.final] == ["b/1"]
    elsewhere = plan([record("b/2", "x")], [file("a/1", "x"), file("b/2", "x"), file("b/3", "x")], removed)
    assert elsewhere.changes.left_out == ("a/1",)
    assert [record.path for record in elsewhere.final] == ["b/2", "b/3"]
    assert elsewhere.changes.added == ("b/3",)


def renamed_to(files, *records):
    """Return which former example each file continues."""
    return {path: former for former, path in plan(list(records), [file(path, "x") for path in files]).changes.renamed}


def test_copies_of_one_content_are_paired_by_label_and_name():
    """First the same label and name, then the label, then the name, then an example of the dataset, then any."""
    added = record(f"{ADDED}1", "x", "a", BY_HAND)
    assert renamed_to(["a/deep/1"], record("b/1", "x"), record("a/2", "x"), record("a/1", "x")) == {"a/deep/1": "a/1"}
    assert renamed_to(["a/9"], record("b/9", "x"), record("a/2", "x")) == {"a/9": "a/2"}
    assert renamed_to(["c/9"], record("b/8", "x"), record("b/9", "x")) == {"c/9": "b/9"}
    assert renamed_to(["c/9"], added, record("b/8", "x")) == {"c/9": "b/8"}
    assert renamed_to(["a/1"], added, record("b/1", "x")) == {"a/1": added.path}  # its name decides, not its label
    assert renamed_to(["a/7"], added, record("b/8", "x")) == {"a/7": "b/8"}
    assert renamed_to(["c/9"], added) == {"c/9": added.path}


def test_the_best_pair_is_made_before_a_good_one():
    """A file does not take the example that continues better under another name."""
    assert renamed_to(["a/1/new", "b/2"], record("b/2/old", "x"), record("c/2", "x")) == {
        "b/2": "b/2/old",
        "a/1/new": "c/2",
    }


CONTENTS = st.sampled_from("xyz")
DATASET_PATHS = [f"{folder}/{name}" for folder in "ab" for name in "123"]
RECORDS = st.dictionaries(
    st.sampled_from([*DATASET_PATHS, f"{ADDED}1", f"{ADDED}2"]), st.tuples(CONTENTS, st.sampled_from([None, "c"]))
)
FILES = st.dictionaries(st.sampled_from(DATASET_PATHS), st.tuples(CONTENTS, st.sampled_from([1, 2])))
REMOVED = st.dictionaries(CONTENTS, st.sets(st.sampled_from(DATASET_PATHS), max_size=2), max_size=2)


@settings(max_examples=80, deadline=None)
@given(RECORDS, FILES, REMOVED, st.sets(st.sampled_from(DATASET_PATHS), max_size=2))
def test_the_plan_adds_up(former, found, removed, existing):
    """Dropping, writing and touching lead from the examples to the final ones, and each change is told once."""
    records = [
        record(path, content, label or ("a" if path.startswith(ADDED) else None), BY_HAND if label else FROM_FOLDER)
        for path, (content, label) in sorted(former.items())
    ]
    files = [file(path, content, mtime) for path, (content, mtime) in sorted(found.items())]
    made, before = plan(records, files, removed, existing), {record.path: record for record in records}
    after = {path: record for path, record in before.items() if path not in made.drop}
    after.update({record.path: record for record in [*made.put, *made.touched]})
    assert made.final == sorted(after.values(), key=lambda record: record.path)
    # every file of the dataset is an example with its content, unless a person removed it
    changes, hashes = made.changes, {record.content_hash for record in records}
    for scanned in files:
        ids = removed.get(scanned.content_hash, set())
        is_removed = scanned.content_hash in removed and (scanned.path in ids or scanned.content_hash not in hashes)
        assert (scanned.path in changes.left_out) == is_removed
        if not is_removed:
            example = after[scanned.path]
            assert (example.content_hash, example.stamp) == (scanned.content_hash, scanned.stamp)
    wanted = {scanned.path: scanned for scanned in files if scanned.path not in changes.left_out}
    # an example without its file stays only where it may exist, or was added by hand
    stays = {path for path in before if path.startswith(ADDED) or path in existing}
    assert set(after) - set(wanted) <= stays
    # whatever content vanished under one name and came under another is encoded no second time
    same = {path for path in wanted if path in before and before[path].content_hash == wanted[path].content_hash}
    vanished = {path for path in before if path not in same and (path.startswith(ADDED) or path not in existing)}
    came = Counter(scanned.content_hash for path, scanned in wanted.items() if path not in same)
    went = Counter(before[path].content_hash for path in vanished)
    new = len([*changes.added, *changes.replaced])
    assert new == (came - went).total()
    assert all(path in before for path in changes.replaced)
    assert not any(path in before for path in changes.added)
    assert set(changes.removed) == set(before) - set(after) - {former for former, _ in changes.renamed}
    told = {*changes.added, *changes.replaced, *(path for _, path in changes.renamed)}
    told |= {path for path, _, _ in changes.relabeled}
    assert changes.unchanged == len(made.final) - len(told)
    for path, former_label, label in changes.relabeled:
        assert former_label != label == after[path].label
