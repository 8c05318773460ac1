"""Each image is answered once, as `classify` answers it, in bounded batches, and before its deadline or not at all."""

import asyncio
import multiprocessing
import pickle
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from dataclasses import astuple, replace

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.batching.classifier_queue import ClassifierQueue
from lmm_classifier.core.datatypes import Decision
from lmm_classifier.core.errors import (
    ClosedError,
    ConfigError,
    CorruptImageError,
    DeadlineError,
    EncoderError,
    ImageInputError,
    QueueFullError,
)
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.gates import LONG, GatedEncoder, GatedReranker, broken
from tests.helpers.manual_clock import ManualClock

FOREVER = float("inf")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def queue(classifier, encoder, clock):
    """A queue for four images in batches of three, with five seconds for each."""
    made = ClassifierQueue(classifier, limit=4, max_batch=3, deadline=5, max_bytes=10_000, clock=clock)
    yield made
    encoder.gate.set()
    encoder.hold.set()
    made.close(LONG)


def settle(*futures):
    """Wait until all futures are done."""
    done, waiting = wait(futures, LONG)
    assert not waiting
    return done


def blocked(queue, encoder, image):
    """Let the encoder be busy with an image, which only its gate ends."""
    encoder.gate.clear()
    encoder.busy.clear()
    future = queue.submit(image, FOREVER)
    assert encoder.busy.wait(LONG)
    return future


def test_many_threads_get_the_answers_of_classify(classifier, encoder, paths):
    """Whatever is batched with what; the stages of each are told."""
    images = [path if number % 2 else path.read_bytes() for number, path in enumerate(paths)] * 4
    images += [np.asarray(Image.open(paths[0])), Image.open(paths[1])]
    expected = [classifier.classify(image) for image in images]
    encoder.batches.clear()
    with ClassifierQueue(classifier, limit=len(images)) as queue, ThreadPoolExecutor(8) as pool:
        futures = list(pool.map(lambda image: queue.submit(image, FOREVER), images))
        assert [future.result(LONG) for future in futures] == expected
        statistics = queue.statistics
    assert max(encoder.batches) <= GatedEncoder.batch_size
    assert sum(size * count for size, count in statistics.batches.items()) == len(images) == sum(encoder.batches)
    assert statistics.ended == {"answered": len(images)}
    assert (statistics.waiting, statistics.reranking, statistics.bytes) == (0, 0, 0)
    assert statistics.rate > 0
    for future in futures:
        stages = dict(future.stages)
        assert stages.keys() == {"queue", "decode", "encode", "vote", "total"}
        assert all(seconds >= 0 for seconds in stages.values())
        assert sum(stages.values()) <= 2 * stages["total"] + 1e-9


def test_whatever_is_ready_is_one_batch(queue, classifier, encoder, paths):
    """While one is encoded three others get ready; no batch is larger than allowed."""
    first = blocked(queue, encoder, paths[0])
    others = [queue.submit(path) for path in paths[1:4]]
    while len(queue._encoder) < 3:
        pass
    encoder.gate.set()
    settle(first, *others)
    assert encoder.batches == [1, 3]
    assert [future.result() for future in others] == [classifier.classify(path) for path in paths[1:4]]


def test_a_full_queue_refuses_before_any_work(queue, encoder, paths):
    """By number and by bytes; the error tells how many wait, and the next one after an end is taken."""
    first = blocked(queue, encoder, paths[0])
    with pytest.raises(QueueFullError, match="bytes") as refused:
        queue.submit(b"x" * 10_001)
    assert (refused.value.depth, refused.value.limit) == (1, 4)
    waiting = [queue.submit(path) for path in paths[1:4]]
    before = encoder.preprocessed
    with pytest.raises(QueueFullError, match="4 images wait, which is the limit") as refused:
        queue.submit(paths[4])
    assert refused.value.retry_after > 0
    assert (refused.value.depth, refused.value.limit) == (4, 4)
    assert vars(pickle.loads(pickle.dumps(refused.value))) == vars(refused.value)
    assert encoder.preprocessed <= before + 3
    assert queue.statistics.refused == {"images": 1, "bytes": 1, "deadline": 0}
    encoder.gate.set()
    settle(first, *waiting)
    assert queue.submit(paths[4]).result(LONG).label
    large = queue.submit(b"x" * 10_001)  # alone it is taken, and only decoding refuses it
    with pytest.raises(Exception, match="accepted format"):
        large.result(LONG)


def test_an_image_that_would_be_late_is_refused_at_once(queue, encoder, paths, clock):
    """By the measured rate: the first took 8 s, so the next one must wait longer than its deadline."""
    first = blocked(queue, encoder, paths[0])
    clock.advance(8)
    encoder.gate.set()
    settle(first)
    second = blocked(queue, encoder, paths[1])
    with pytest.raises(QueueFullError, match="more than its deadline of 5 s") as refused:
        queue.submit(paths[2])
    assert refused.value.retry_after == pytest.approx(8)
    third = queue.submit(paths[2], deadline=9)
    encoder.gate.set()
    settle(second, third)


def test_a_deadline_is_kept_although_the_encoder_is_busy(queue, encoder, paths, clock):
    """The timer ends the image, and the encoder never sees it."""
    first = blocked(queue, encoder, paths[0])
    late, patient = queue.submit(paths[1]), queue.submit(paths[2], FOREVER)
    clock.advance(5)
    with pytest.raises(DeadlineError, match="deadline of 5 s passed"):
        late.result(LONG)
    assert not first.done()
    assert not patient.done()
    encoder.gate.set()
    settle(first, patient)
    assert sum(encoder.batches) == 2
    assert queue.statistics.ended == {"answered": 2, "expired": 1}


def test_a_reader_that_hangs_holds_one_image_alone(queue, classifier, encoder, paths, clock):
    """The other reader continues, the deadline is kept, and closing does not wait for the thread."""
    hanging = queue.submit(Image.new("RGB", encoder.held))
    assert encoder.holding.wait(LONG)
    assert queue.submit(paths[0]).result(LONG) == classifier.classify(paths[0])
    clock.advance(5)
    with pytest.raises(DeadlineError, match="before the image was decoded"):
        hanging.result(LONG)
    assert queue.statistics.waiting == 0
    queue.close(LONG)
    encoder.hold.set()


def test_all_readers_hang_and_what_waits_for_them_is_dropped(queue, encoder, clock):
    """At its deadline nothing of it stays in a line."""
    hanging = [queue.submit(Image.new("RGB", encoder.held)) for _ in range(4)]
    assert encoder.holding.wait(LONG)
    clock.advance(5)
    for future in settle(*hanging):
        assert isinstance(future.exception(), DeadlineError)
    assert (len(queue._readers), len(queue._encoder), queue.statistics.waiting) == (0, 0, 0)


def test_a_bad_image_ends_alone_with_the_error_of_classify(queue, classifier, encoder, paths):
    """A file that is no image, a refusal of the encoder, and what is no image at all."""
    first = blocked(queue, encoder, paths[0])
    others = [queue.submit(image) for image in (b"\xff\xd8\xff\xe0", Image.new("RGB", (23, 4)), paths[1])]
    with pytest.raises(CorruptImageError):
        others[0].result(LONG)
    while len(queue._encoder) < 2:
        pass
    encoder.gate.set()
    with pytest.raises(EncoderError, match="refuses"):
        others[1].result(LONG)
    assert others[2].result(LONG) == classifier.classify(paths[1])
    settle(first)
    with pytest.raises(ImageInputError):
        queue.submit(7)
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match="above 0"):
            queue.submit(paths[0], wrong)
        with pytest.raises(ConfigError, match="limit"):
            ClassifierQueue(classifier, limit=wrong)


def test_a_broken_encoder_fails_its_batch_and_the_next_one_is_served(queue, encoder, paths):
    """Errors of any kind reach the futures."""
    for error in (broken(), RuntimeError("no such kernel")):
        encoder.errors.append(error)
        with pytest.raises(type(error), match=str(error)):
            queue.submit(paths[0]).result(LONG)
    assert queue.submit(paths[0]).result(LONG).label
    assert queue.statistics.ended == {"failed": 2, "answered": 1}


def test_canceling_frees_the_place_at_once(queue, encoder, paths):
    """Before and while it is encoded; who waits for it learns of it."""
    first = blocked(queue, encoder, paths[0])
    waiting = queue.submit(paths[1])
    assert waiting.cancel()
    assert first.cancel()
    for future in settle(first, waiting):
        with pytest.raises(CancelledError):
            future.result()
    assert queue.statistics.waiting == 0
    assert queue.statistics.ended == {"cancelled": 2}
    encoder.gate.set()
    done = queue.submit(paths[1])
    settle(done)
    assert not done.cancel()


def test_coroutines_are_served_and_cancelled(queue, classifier, encoder, paths):
    """`classify` answers, and a task that is cancelled leaves the queue."""

    async def main():
        results = await asyncio.gather(*(queue.classify(path) for path in paths[:4]))
        encoder.gate.clear()
        task = asyncio.create_task(queue.classify(paths[0], FOREVER))
        while queue.statistics.waiting == 0:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while queue.statistics.waiting:
            await asyncio.sleep(0)
        return results

    results = asyncio.run(main())
    encoder.gate.set()
    assert results == [classifier.classify(path) for path in paths[:4]]


def test_closing_waits_for_those_inside(queue, classifier, encoder, paths):
    """It takes no more meanwhile."""
    first = blocked(queue, encoder, paths[0])
    closing = threading.Thread(target=queue.close, args=(LONG,))
    closing.start()
    with pytest.raises(ClosedError, match="This queue is closed"):
        while True:
            queue.submit(paths[1], FOREVER).cancel()
    encoder.gate.set()
    closing.join(LONG)
    assert first.result(0).label
    queue.close()


def test_closing_ends_those_that_are_not_done_in_time(queue, encoder, paths):
    """With an error that says so, and although the encoder hangs."""
    futures = [blocked(queue, encoder, paths[0]), queue.submit(paths[1])]
    queue.close(drain=0)
    for future in futures:
        with pytest.raises(ClosedError, match="closed before the image was answered"):
            future.result(0)
    assert queue.statistics.waiting == 0
    encoder.gate.set()


@pytest.fixture
def reranked(place, paths):
    """A classifier that asks a reranker, which waits for its gate, about half of the images."""
    settings = {"retrieval__open_set_threshold": -1.0, "rerank__gate__mode": "threshold", "images__threads": 2}
    config = offline_config(place / "index", **settings)
    encoder, reranker = GatedEncoder(), GatedReranker()
    with HybridClassifier(config, encoder) as opened:
        scores = [opened.classify(path).score for path in paths]
    config.retrieval.confidence_threshold = float(np.median(scores))
    with HybridClassifier(config, encoder) as opened:
        opened._current_flow._flow = replace(opened._current_flow(), reranker=reranker)
        votes = opened.retrieve(opened.encode([opened.prepare(path) for path in paths]))
        unsure = [path for path, vote in zip(paths, votes) if vote.ambiguity is not None]
        yield opened, reranker, unsure, [path for path in paths if path not in unsure]
        reranker.gate.set()


def test_a_slow_reranker_does_not_hold_the_others(reranked, clock):
    """Those that it is asked about do not count in the queue; at their deadline retrieval's result stands."""
    classifier, reranker, unsure, sure = reranked
    assert len(unsure) >= 3
    with ClassifierQueue(classifier, limit=2, max_batch=1, deadline=5, clock=clock) as queue:
        asked = [queue.submit(unsure[0])]
        assert reranker.busy.wait(LONG)
        asked.append(queue.submit(unsure[1]))
        while queue.statistics.reranking < 2:
            pass
        full = queue.submit(unsure[2]).result(LONG)
        assert (full.decision.reason, full.error) == ("reranker_failed", "too many images wait for the reranker")
        for path in sure:
            assert queue.submit(path).result(LONG) == classifier.classify(path)
        assert not asked[0].done()
        clock.advance(5)
        late = [future.result(LONG) for future in asked]
        reranker.gate.set()
        assert queue.statistics.reranking == 0
        for path, result in zip(unsure, [*late, full]):
            answer = classifier.classify(path)
            assert answer.used_reranker
            assert (result.decision.reason, result.used_reranker) == ("reranker_failed", False)
            assert result.label == result.candidates[0].label != answer.label
        answered = queue.submit(unsure[0])
        assert answered.result(LONG) == classifier.classify(unsure[0])
        assert "rerank" in answered.stages


def test_an_image_may_be_kept_from_the_reranker(reranked):
    """Retrieval decides it alone, as where there is no reranker."""
    classifier, reranker, unsure, sure = reranked
    with ClassifierQueue(classifier) as queue:
        for path in (unsure[0], sure[0]):
            result = queue.submit(path, FOREVER, may_rerank=False).result(LONG)
            vote = classifier.retrieve(classifier.encode([classifier.prepare(path)]))[0].result
            action, reason = ("accept", "ambiguous") if path in unsure else astuple(vote.decision)
            assert result == replace(vote, decision=Decision(action, reason))
    assert not reranker.busy.is_set()


def test_a_reranker_that_fails_or_is_closed_upon_leaves_the_answer_of_retrieval(reranked):
    """The result says so."""
    classifier, reranker, unsure, _ = reranked
    queue = ClassifierQueue(classifier)
    reranker.error = OSError("no model")
    reranker.gate.set()
    failed = queue.submit(unsure[0], FOREVER).result(LONG)
    assert (failed.decision.reason, failed.error) == ("reranker_failed", "OSError: no model")
    reranker.gate.clear()
    waiting = queue.submit(unsure[1], FOREVER)
    while queue.statistics.reranking < 1:
        pass
    queue.close(drain=0)
    assert waiting.result(0).decision.reason == "reranker_failed"


def test_a_forked_process_starts_with_an_empty_queue(classifier, encoder, paths):
    """With threads of its own; those that waited are answered in the parent."""
    expected = classifier.classify(paths[1])
    with ClassifierQueue(classifier) as queue:
        first = blocked(queue, encoder, paths[0])
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        child = context.Process(target=_answer, args=(encoder, queue, paths[1], answers))
        child.start()
        assert answers.get(timeout=LONG) == (0, expected)
        child.join(LONG)
        assert not first.done()
        encoder.gate.set()
        assert first.result(LONG).label


_ENDS_EARLY = """
import sys
from pathlib import Path
from lmm_classifier import ClassifierQueue, HybridClassifier, PipelineConfig

config = PipelineConfig.offline()
config.retrieval.index_path = Path(sys.argv[1])
classifier = HybridClassifier(config)
classifier.follow_in_background()
queue = ClassifierQueue(classifier)
futures = [queue.submit(path, 60) for path in sorted(Path(sys.argv[2]).rglob("*.png"))]
futures[0].result()
print("the program ends")
"""


@pytest.mark.long
def test_a_program_may_end_without_closing(tmp_path):
    """Its threads end before the interpreter, in order and without a word."""
    dataset = draw_dataset(tmp_path / "dataset", count=3, size=48)
    build_index_from_directory(dataset, tmp_path / "index", config=offline_config(tmp_path / "index"))
    command = [sys.executable, "-c", _ENDS_EARLY, str(tmp_path / "index"), str(dataset)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5 * LONG, check=False)
    assert (done.returncode, done.stdout) == (0, "the program ends\n")
    assert "Traceback" not in done.stderr


def _answer(encoder, queue, path, answers):
    encoder.gate = threading.Event()  # the parent's may have been forked while its thread held the lock of it
    encoder.gate.set()
    answers.put((queue.statistics.waiting, queue.submit(path, FOREVER).result(LONG)))
