"""The review as a whole: an answer teaches at once, the open items are voted on again, and every act can be undone."""

import datetime
import shutil

import pytest

from lmm_classifier.core.errors import Cancelled, ClosedError, DatasetError, NoSuchRunError, ReviewError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.review.images import FolderImages, UploadedFiles
from lmm_classifier.review.reviewer import UPLOAD, Reviewer
from lmm_classifier.review.runner import classify_items
from tests.helpers.datasets import draw_dataset, offline_config

HOSTILE_NAME = "../../etc/\u202ex\udcff.png"


def of_label(review, label):
    return [item for name, item in sorted(review.ids.items()) if name.startswith(f"{label}/")]


def results(review, ids=None):
    return {
        item.id: dict(item.result) for item in review.reviewer.runs.after(review.run) if ids is None or item.id in ids
    }


def classified_again(review, ids):
    items = review.reviewer.runs.items(ids)
    again = review.classifier.classify_paths([item.result["path"] for item in items])
    return {item.id: result.to_dict() for item, result in zip(items, again)}


def examples(review):
    index = Index.open(review.config.retrieval.index_path)
    return sorted(zip(index.contents.hashes, index.contents.labels))


def state(review):
    """All that an answer changes."""
    reviewer = review.reviewer
    decisions = {item.id: (item.decision.kind, item.decision.label, item.decision.apart) for item in items_of(review)}
    return examples(review), decisions, reviewer.runs.run(review.run)


def items_of(review):
    return sorted(review.reviewer.runs.after(review.run), key=lambda item: item.id)


def test_results_are_those_of_the_classifier(review):
    """Exactly `to_dict` of `classify_paths`, with the version of the index."""
    ids = list(review.ids.values())
    assert results(review) == classified_again(review, ids)
    run = review.reviewer.runs.run(review.run)
    assert (run.state, run.items, run.total) == ("done", 18, 18)
    assert run.open + run.confident == 18
    assert run.open > 0
    assert {item.index_version for item in items_of(review)} == {review.classifier.index.contents.version}


def test_without_an_edit_a_new_vote_changes_nothing(review):
    """The stored vectors are those of the encoder, bit for bit."""
    vote = review.reviewer.revote(review.run)
    assert vote.voted == 18
    assert not vote.changed


def test_a_taught_label_counts_at_once(review):
    """Open items of the new label get it, and every changed result is what the classifier would say."""
    argyle = of_label(review, "argyle")
    before = results(review)
    decided = review.reviewer.teach(argyle[:2], "argyle")
    assert decided.refused == {}
    assert decided.answer.items == tuple(argyle[:2])
    changed = decided.revote.changed
    assert argyle[2] in changed
    assert set(decided.revote.newly_confident) <= set(changed)
    after = results(review)
    again = classified_again(review, list(changed))
    assert {item: after[item] for item in changed} == again
    assert all(
        (before[item]["label"], before[item]["reason"]) != (after[item]["label"], after[item]["reason"])
        for item in changed
    )
    untouched = set(after) - set(changed) - set(argyle[:2])
    everything = classified_again(review, sorted(untouched))
    assert all(
        (after[item]["label"], after[item]["reason"]) == (everything[item]["label"], everything[item]["reason"])
        for item in untouched
    )
    assert {item.id: dict(item.result) for item in review.reviewer.items(sorted(untouched))} == everything


def test_a_change_comes_again_in_the_stream(review):
    """Whoever read up to a position gets what changed since, once."""
    stream = review.reviewer.runs.after(review.run)
    last = stream[-1].change
    assert review.reviewer.runs.after(review.run, last) == []
    argyle = of_label(review, "argyle")
    decided = review.reviewer.teach(argyle[:2], "argyle")
    news = review.reviewer.runs.after(review.run, last)
    assert {item.id for item in news} == set(decided.revote.changed) | set(argyle[:2])
    assert [item.change for item in news] == sorted({item.change for item in news})
    parts, position = [], 0
    while part := review.reviewer.runs.after(review.run, position, limit=5):
        parts += part
        position = part[-1].change
    assert sorted(item.id for item in parts) == sorted(review.ids.values())


def test_every_answer_can_be_undone(review):
    """Also `unknown`, `skip` and `not_in_group`, and an answer about many items is one."""
    reviewer, argyle, chevron = review.reviewer, of_label(review, "argyle"), of_label(review, "chevron")
    states = [state(review)]
    for act in (
        lambda: reviewer.decide(argyle[:1], "not_in_group"),
        lambda: reviewer.decide(argyle[:2], "skip"),
        lambda: reviewer.teach(argyle, "argyle"),
        lambda: reviewer.decide(chevron, "unknown"),
        lambda: reviewer.teach(chevron[:1], "chevron"),
    ):
        act()
        states.append(state(review))
    assert len({str(each) for each in states}) == len(states)
    for former in reversed(states[:-1]):
        reviewer.undo()
        assert state(review) == former
    with pytest.raises(ReviewError, match="no answer to undo"):
        reviewer.undo()


def test_an_answer_under_a_later_one_is_not_undone(review):
    """First the later one has to go; another answer's items do not matter."""
    reviewer, argyle = review.reviewer, of_label(review, "argyle")
    skipped = reviewer.decide(argyle, "skip").answer
    other = reviewer.decide(of_label(review, "chevron"), "unknown").answer
    reviewer.decide(argyle[:1], "unknown")
    with pytest.raises(ReviewError, match="a later answer"):
        reviewer.undo(skipped.id)
    reviewer.undo(other.id)
    reviewer.undo()
    reviewer.undo(skipped.id)
    assert all(not item.decision.kind for item in items_of(review))
    with pytest.raises(ReviewError, match="undone already"):
        reviewer.undo(skipped.id)


def test_a_page_shows_groups_and_its_cursor_stays(review):
    """Answers take items away, and move nothing; each open item is in one group."""
    reviewer = review.reviewer
    whole = reviewer.page(review.run, limit=100)
    assert whole.cursor is None
    shown = [item for group in whole.groups for item in group.items]
    assert sorted(shown) == [item.id for item in items_of(review) if item.is_open]
    assert len({group.id for group in whole.groups}) == len(whole.groups)
    for item in shown:  # so that there are several groups
        reviewer.decide([item], "not_in_group")
    singles = reviewer.page(review.run, limit=100).groups
    assert [group.items for group in singles if len(group.items) > 1] == []
    first = reviewer.page(review.run, limit=1)
    answered = singles[1].items[0]
    reviewer.decide([answered], "skip")
    rest = reviewer.page(review.run, first.cursor, limit=100)
    assert [group.items for group in (*first.groups, *rest.groups)] == [
        group.items for group in singles if group.items != (answered,)
    ]
    again = reviewer.page(review.run, first.cursor, limit=100)
    assert again == rest


def test_wrong_cursors_and_numbers_are_refused(review):
    """With an error that says what to do; nothing else happens."""
    reviewer = review.reviewer
    for cursor in ("", "x", "W10", "WzEsMiwzXQ", "Wy0xLDAsMF0", "é", "W1tdLDEsMl0", "WzFlOTk5LDEsMV0"):
        with pytest.raises(ReviewError, match="Start again without a cursor"):
            reviewer.page(review.run, cursor)
    with pytest.raises(ReviewError, match="no run 99"):
        reviewer.page(99)
    with pytest.raises(ReviewError, match="no item 999"):
        reviewer.teach([999], "argyle")
    with pytest.raises(ReviewError, match="at least one"):
        reviewer.decide([], "skip")
    with pytest.raises(DatasetError, match="no label"):
        reviewer.teach(of_label(review, "argyle"), " ")
    with pytest.raises(DatasetError):
        reviewer.teach(of_label(review, "argyle"), "unknown")
    with pytest.raises(ReviewError, match="target"):
        reviewer.stopping(review.run, 1.5)
    assert reviewer.answers.answers() == []


def test_files_that_changed_are_refused(review, tmp_path):
    """Only the content that was classified is taught; the other items of the answer are."""
    folder = shutil.copytree(review.new / "argyle", tmp_path / "mine")
    run = review.reviewer.classify_folder(folder)
    ids = [item.id for item in sorted(review.reviewer.runs.after(run.id), key=lambda item: item.name)]
    (folder / "00.png").write_bytes((folder / "01.png").read_bytes())
    (folder / "02.png").unlink()
    decided = review.reviewer.teach(ids, "argyle")
    assert decided.answer.items == (ids[1],)
    assert set(decided.refused) == {ids[0], ids[2]}
    assert "changed" in decided.refused[ids[0]]
    assert review.reviewer.teach([ids[0]], "argyle").answer is None


def test_an_image_that_is_an_example_already(review):
    """Under the same label it counts as taught, and undoing leaves the example; under another one it is refused."""
    run = review.reviewer.classify_folder(review.new.parent / "dataset" / "stripes")
    ids = [item.id for item in review.reviewer.runs.after(run.id)]
    before = examples(review)
    refused = review.reviewer.teach(ids[:1], "gingham")
    assert refused.answer is None
    assert "'stripes'" in refused.refused[ids[0]]
    decided = review.reviewer.teach(ids, "stripes")
    assert decided.answer.items == tuple(ids)
    assert decided.answer.examples == ()
    review.reviewer.undo()
    assert examples(review) == before


def test_uploads_are_kept_and_taught(review):
    """Bytes with any name; an unreadable one is an item too, and nothing can be decided about it."""
    reviewer, data = review.reviewer, (review.new / "argyle/00.png").read_bytes()
    run = reviewer.runs.create(UPLOAD)
    ids = reviewer.add_uploads(run.id, [(HOSTILE_NAME, data), ("bad", b"no image")])
    assert reviewer.add_uploads(run.id, [(HOSTILE_NAME, data)]) == ids[:1]
    items = reviewer.runs.items(ids)
    assert items[0].name == HOSTILE_NAME
    assert [item.result["reason"] == "unreadable" for item in items] == [False, True]
    assert reviewer.runs.run(run.id).unreadable == 1
    file = reviewer.uploads.file_of(items[0].content_hash)
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0
    assert reviewer.teach(ids[:1], "argyle").answer is not None
    assert review.classifier.classify(data).label == "argyle"
    with pytest.raises(ReviewError, match="no readable image"):
        reviewer.decide(ids[1:], "skip")
    with pytest.raises(ReviewError, match="over a folder"):
        reviewer.add_uploads(review.run, [("a", data)])
    with pytest.raises(ReviewError, match="one run"):
        reviewer.decide([ids[0], review.ids["argyle/00.png"]], "skip")


@pytest.mark.parametrize("deleted", ["another run", "this run"])
def test_a_run_is_deleted_while_an_upload_is_classified(review, monkeypatch, deleted):
    """What another run with the same content has is kept; of a run that is gone nothing stays."""
    reviewer, data = review.reviewer, (review.new / "argyle/00.png").read_bytes()
    former, new = (reviewer.runs.create(UPLOAD).id for _ in range(2))
    (item,) = reviewer.add_uploads(former, [("a", data)])
    file = reviewer.file_of(item)

    def classify(*arguments):
        reviewer.delete(former)  # it does not wait for the image
        if deleted == "this run":
            reviewer.delete(new)
        return classify_items(*arguments)

    monkeypatch.setattr("lmm_classifier.review.reviewer.classify_items", classify)
    if deleted == "this run":
        with pytest.raises(NoSuchRunError):
            reviewer.add_uploads(new, [("a", data)])
    else:
        (item,) = reviewer.add_uploads(new, [("a", data)])
        assert reviewer.file_of(item).read_bytes() == data
        reviewer.delete(new)
    assert not file.exists()
    assert list(file.parent.iterdir()) == []


def test_a_program_that_keeps_the_uploads_is_not_waited_for_without_end(review, monkeypatch):
    """The error says what to do, and nothing is lost."""
    reviewer, data = review.reviewer, (review.new / "argyle/00.png").read_bytes()
    run = reviewer.runs.create(UPLOAD).id
    monkeypatch.setattr("lmm_classifier.review.images._WAIT", 0.01)
    with UploadedFiles(review.config.retrieval.index_path).alone():
        for act in (lambda: reviewer.add_uploads(run, [("a", data)]), lambda: reviewer.delete(run)):
            with pytest.raises(ReviewError, match="Another program"):
                act()
    assert len(reviewer.add_uploads(run, [("a", data)])) == 1
    reviewer.delete(run)


def test_a_stopped_run_is_resumed(built, tmp_path):
    """No image is classified twice, and none is lost."""
    config = offline_config(shutil.copytree(built / "index", tmp_path / "index"), rerank__enabled="false")
    config.encoder.batch_size = 4

    def stop(progress):
        if progress.done >= 8:
            raise Cancelled("enough")

    with HybridClassifier(config) as classifier:
        with Reviewer(classifier) as reviewer:
            with pytest.raises(Cancelled):
                reviewer.classify_folder(built / "new", stop)
            (run,) = reviewer.runs.runs()
            assert (run.state, run.items) == ("cancelled", 8)
            first = [item.id for item in reviewer.runs.after(run.id)]
        with Reviewer(classifier) as reviewer:
            seen = []
            run = reviewer.resume(run.id, lambda progress: seen.append(progress.done))
            assert (run.state, run.items, seen) == ("done", 18, [12, 16, 18])
            assert [item.id for item in reviewer.runs.after(run.id)][:8] == first
            assert len(FolderImages(built / "new")) == 18
    with pytest.raises(ClosedError):
        reviewer.runs.runs()


def test_stopping_tells_what_decides_itself(review):
    """At a target of nearly nothing all familiar items do; at 100% only what is accepted already."""
    reviewer = review.reviewer
    run = reviewer.runs.run(review.run)
    strict, lax = reviewer.stopping(review.run, 1.0), reviewer.stopping(review.run, 0.01)
    assert (strict.undecided, strict.open, strict.deciding) == (18, run.open, 0)
    assert strict.share == pytest.approx((18 - run.open) / 18)
    assert not strict.may_stop
    familiar = [item for item in items_of(review) if item.is_open and item.result["reason"] != "novel"]
    assert lax.deciding == len(familiar)
    reviewer.decide([item.id for item in items_of(review) if item.is_open], "unknown")
    done = reviewer.stopping(review.run)
    assert (done.open, done.share, done.may_stop, done.target) == (0, 1, True, 0.95)


def test_the_rest_is_accepted_in_one_answer(built, classified, tmp_path):
    """What was accepted is decided with the label of its result, nothing is taught, and one undo takes it back."""
    config = offline_config(shutil.copytree(classified, tmp_path / "index"), rerank__enabled="false")
    calibrate_index(config.retrieval.index_path, config)
    config.retrieval.confidence_threshold = 0.9999
    with HybridClassifier(config) as classifier, Reviewer(classifier) as reviewer:
        (run,) = reviewer.runs.runs()
        reviewer.revote(run.id)
        before = reviewer.runs.after(run.id)
        advice = reviewer.stopping(run.id, 0.3)
        assert len(advice.items) == advice.deciding > 0
        version = classifier.index.contents.version
        decided = reviewer.accept_rest(run.id, 0.3)
        assert set(decided.answer.items) == set(advice.items)
        assert classifier.index.contents.version == version
        accepted = {item.id: item for item in reviewer.items(advice.items)}
        labels = {item.id: item.result["label"] for item in before}
        assert {item: each.to_dict()["decision"] for item, each in accepted.items()} == {
            item: {"kind": "accept", "label": labels[item]} for item in advice.items
        }
        assert reviewer.runs.run(run.id).open == advice.open - advice.deciding
        assert reviewer.accept_rest(run.id, 0.3).answer == decided.answer  # sent again
        reviewer.undo()
        assert reviewer.accept_rest(run.id, 1.0).answer is None
        assert [(item.id, item.result, item.decision) for item in reviewer.items([item.id for item in before])] == [
            (item.id, item.result, item.decision) for item in before
        ]


@pytest.mark.parametrize("kind", ["unknown", "skip", "accept"])
def test_an_item_that_is_open_again_has_the_newest_result(review, kind):
    """While it was decided, nobody voted on it."""
    reviewer, items = review.reviewer, of_label(review, "chevron")
    answer = reviewer.decide(items, kind).answer
    reviewer.teach(of_label(review, "argyle")[:1], "argyle")
    review.classifier.editor().rename_label("stripes", "other name")
    assert review.classifier.wait_for_index()
    reviewer.undo(answer.id)
    results = {item.id: item.result["label"] for item in reviewer.runs.items(items)}
    fresh = review.classifier.classify_many([reviewer.file_of(item) for item in items])
    assert results == {item: result.label for item, result in zip(items, fresh, strict=True)}
    assert "stripes" not in results.values()


def test_without_a_calibration_nothing_is_accepted(review):
    """Nobody knows how many of the results are right."""
    with pytest.raises(ReviewError, match="not calibrated"):
        review.reviewer.accept_rest(review.run, 0.01)


def test_votes_that_are_used_again_are_those_of_a_new_start(review):
    """Whatever was decided since; a new start reads all vectors again."""
    reviewer = review.reviewer
    reviewer.teach(of_label(review, "argyle")[:1], "argyle")
    reviewer.decide(of_label(review, "chevron")[:2], "skip")
    reviewer.decide(of_label(review, "chevron")[2:], "not_in_group")
    shown = reviewer.page(review.run, limit=100).groups, reviewer.stopping(review.run)
    with Reviewer(review.classifier) as again:
        assert (again.page(review.run, limit=100).groups, again.stopping(review.run)) == shown
    reviewer.undo()
    reviewer.undo()
    with Reviewer(review.classifier) as again:
        assert again.stopping(review.run) == reviewer.stopping(review.run)


def test_purge_forgets_all_of_a_run(review):
    """Rows, vectors, answers and uploads; the examples that it taught stay."""
    reviewer = review.reviewer
    reviewer.teach(of_label(review, "argyle")[:1], "argyle")
    taught = examples(review)
    early = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    assert reviewer.purge(early) == []
    late = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    assert reviewer.purge(late) == [review.run]
    assert reviewer.runs.runs() == []
    assert reviewer.answers.answers() == []
    assert examples(review) == taught
    with pytest.raises(ReviewError, match="no run"):
        reviewer.runs.run(review.run)
    assert reviewer.classify_folder(review.new / "argyle").id > review.run  # a number never comes again


def test_an_npz_index_cannot_be_reviewed(tmp_path):
    """It cannot be edited."""
    draw_dataset(tmp_path / "dataset", count=2, size=48)
    config = offline_config(tmp_path / "index.npz", rerank__enabled="false")
    build_index_from_directory(tmp_path / "dataset", tmp_path / "index.npz", config=config)
    with HybridClassifier(config) as classifier, pytest.raises(ReviewError, match="no durable index"):
        Reviewer(classifier)


def test_an_answer_whose_edit_was_undone_elsewhere_is_taken_back(review):
    """The next vote opens its items again; undoing the answer itself is no error then."""
    reviewer, (first, second, *_) = review.reviewer, review.ids.values()
    answers = [reviewer.teach([item], "taught", vote=False).answer for item in (first, second)]
    for answer in answers:
        review.classifier.editor().undo(answer.edit)
    assert reviewer.undo(answers[1].id, vote=False).answer.state == "undone"
    assert reviewer.items([first])[0].decision.kind == "label"
    review.classifier.wait_for_index()
    reviewer.revote(review.run)
    assert reviewer.items([first])[0].decision.kind == ""
    assert reviewer.answers.answer(answers[0].id).state == "undone"


def test_groups_follow_a_transform_that_was_fitted_again(review):
    """Its space has other dimensions, or other directions."""
    reviewer, (first, *_) = review.reviewer, review.ids.values()
    reviewer.page(review.run)
    label = review.classifier.index.contents.labels[0]
    reviewer.teach([first], label)
    calibrate_index(review.config.retrieval.index_path, review.config)
    assert reviewer.page(review.run).groups
