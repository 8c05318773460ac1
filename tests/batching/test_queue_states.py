"""Whatever happens in whatever order, each image ends exactly once and nothing stays inside.

Nothing here depends on how fast the threads are: the clock moves by a rule, and the end waits for events.
"""

import shutil
import tempfile
from collections import Counter
from concurrent.futures import CancelledError, wait
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from PIL import Image

from lmm_classifier.batching.classifier_queue import ClassifierQueue
from lmm_classifier.core.errors import ClosedError, DeadlineError, EncoderError, ImageError, QueueFullError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import draw_sides
from tests.helpers.gates import LONG, GatedEncoder, broken
from tests.helpers.manual_clock import ManualClock

LIMIT, MAX_BATCH = 5, 3


class QueueStates(RuleBasedStateMachine):
    """A queue with submits, cancellations, errors, deadlines and an encoder that stops and works again."""

    @initialize()
    def open(self):
        self.root = Path(tempfile.mkdtemp(prefix="queue-states-"))
        draw_sides(self.root / "dataset", count=2)
        self.encoder, self.clock = GatedEncoder(refused=[(23, 4)]), ManualClock()
        config = offline_config(self.root / "index.npz", rerank__enabled=False, images__threads=2)
        build_index_from_directory(self.root / "dataset", self.root / "index.npz", config=config, encoder=self.encoder)
        self.classifier = HybridClassifier(config, self.encoder)
        paths = sorted((self.root / "dataset").rglob("*.png"))
        good = [path.read_bytes() for path in paths[::2]]
        self.images = [*good, paths[1], b"no image", Image.new("RGB", (23, 4)), Image.new("RGB", self.encoder.held)]
        self.expected = [self.classifier.classify(image) for image in self.images[:-3]]
        self.encoder.batches.clear()
        self.queue = ClassifierQueue(self.classifier, LIMIT, MAX_BATCH, 5.0, clock=self.clock)
        self.futures, self.ends, self.is_closed = [], Counter(), False

    @rule(number=st.integers(0, 7), deadline=st.sampled_from([None, 1.0, 20.0, float("inf")]))
    def submit(self, number, deadline):
        number %= len(self.images)
        try:
            future = self.queue.submit(self.images[number], deadline)
        except QueueFullError as error:
            assert error.depth > 0
            assert error.retry_after >= 0
        except ClosedError:
            assert self.is_closed
        else:
            place = len(self.futures)
            self.futures.append((number, future))
            future.add_done_callback(lambda _: self.ends.update([place]))

    @precondition(lambda self: self.futures)
    @rule(place=st.integers(0, 99))
    def cancel(self, place):
        _, future = self.futures[place % len(self.futures)]
        future.cancel()

    @rule(seconds=st.sampled_from([0.5, 1.0, 6.0]))
    def pass_time(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def stop_the_encoder(self):
        self.encoder.gate.clear()

    @rule()
    def let_the_encoder_go_on(self):
        self.encoder.gate.set()

    @rule()
    def break_the_encoder_once(self):
        self.encoder.errors.append(broken())

    @rule()
    def let_readers_go_on(self):
        self.encoder.hold.set()
        self.encoder.hold.clear()

    @rule(drain=st.just(0))
    def close_early(self, drain):
        if len(self.futures) > 3:
            self.queue.close(drain)
            self.is_closed = True

    @invariant()
    def nothing_exceeds_its_limit(self):
        assert all(size <= MAX_BATCH for size in self.encoder.batches)
        statistics = self.queue.statistics
        assert 0 <= statistics.waiting <= LIMIT
        assert statistics.reranking == 0
        assert all(count == 1 for count in self.ends.values())

    def teardown(self):
        self.encoder.hold.set()
        self.encoder.gate.set()
        _, waiting = wait([future for _, future in self.futures], LONG)
        assert not waiting
        self.queue.close(LONG)
        assert self.ends == Counter(range(len(self.futures)))
        statistics = self.queue.statistics
        assert (statistics.waiting, statistics.bytes) == (0, 0)
        assert sum(statistics.ended.values()) == len(self.futures)
        for number, future in self.futures:
            self.check(number, future)
        self.classifier.close()
        shutil.rmtree(self.root)

    def check(self, number, future):
        try:
            result = future.result(0)
        except (CancelledError, DeadlineError):
            return
        except ClosedError:
            assert self.is_closed
        except (EncoderError, ImageError) as error:
            assert "out of order" in str(error) or number >= len(self.expected)
        else:
            assert number >= len(self.expected) or result == self.expected[number]


TestQueueStates = QueueStates.TestCase
TestQueueStates.settings = settings(
    max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
