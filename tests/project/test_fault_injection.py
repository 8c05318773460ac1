"""The fault injection suite (`make reliability`) in short, and a test that it detects a loss."""

import pytest

from benchmarks.fault_injection.__main__ import table
from benchmarks.fault_injection.appended import appended_results
from benchmarks.fault_injection.blame import blame
from benchmarks.fault_injection.cache_flips import cache_flips
from benchmarks.fault_injection.decode_cost import decode_cost
from benchmarks.fault_injection.determinism import determinism
from benchmarks.fault_injection.edits import edits
from benchmarks.fault_injection.flips import archive_flips, flips
from benchmarks.fault_injection.hostile import archives, configurations, names
from benchmarks.fault_injection.images import malformed, mutations
from benchmarks.fault_injection.interruptions import interruptions
from benchmarks.fault_injection.outcome import Outcome
from benchmarks.fault_injection.run_flips import run_flips
from benchmarks.fault_injection.servers import forks, rate_limits, servers
from benchmarks.fault_injection.writers import leftovers, read_only, small_disk, writers


def assert_nothing_lost(*outcomes):
    for outcome in outcomes:
        assert not outcome.lost, f"{outcome.fault}: {outcome.notes}"
    if all(outcome.skipped for outcome in outcomes):
        pytest.skip(outcomes[0].skipped)
    assert all(outcome.tried or outcome.skipped for outcome in outcomes)


@pytest.mark.long
def test_interruptions():
    """A kill or a failing disk at any call loses no committed image, and no image is encoded twice."""
    assert_nothing_lost(*interruptions(42, 9, 18))


@pytest.mark.long
def test_appended_results():
    """`classify --output --copy-to`, killed or on a full disk, is completed by `--resume`: nothing torn or twice."""
    assert_nothing_lost(*appended_results(8, 2, 12))


@pytest.mark.long
def test_the_harness_detects_a_loss():
    """A build that reports images before they are committed is detected."""
    outcome = interruptions(20, 0, 0, ["premature_build"])[0]
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.lost
    assert "were reported as committed" in outcome.notes[0]


@pytest.mark.long
def test_servers():
    """Faulty servers, limited rates and forked callers cost no image and no time."""
    assert_nothing_lost(servers(16), rate_limits(8), forks(5))


@pytest.mark.long
def test_flipped_bits():
    """Each flip is detected or changes nothing, and the doctor repairs what was detected."""
    assert_nothing_lost(flips(80), archive_flips(40))


@pytest.mark.long
def test_flipped_bits_of_caches():
    """No flipped bit of stored answers, exports, digests or search graphs changes an answer."""
    assert_nothing_lost(*cache_flips(150))


@pytest.mark.long
def test_flipped_bits_of_runs():
    """Each flip is detected or changes nothing, and a repair keeps every row that is sound."""
    assert_nothing_lost(run_flips(200))


@pytest.mark.long
def test_mutated_images():
    """Mutated images are decoded or refused: no crash, no hang, little memory, no output."""
    assert_nothing_lost(mutations(3000))


@pytest.mark.long
def test_malformed_images(shared):
    """A collection of broken images is decoded or refused."""
    assert_nothing_lost(malformed(shared / "badimages/badimages.tar.xz"))


@pytest.mark.long
def test_costly_images():
    """No accepted file of a family costs more than the limits; the others are refused with the reason."""
    assert_nothing_lost(*decode_cost(0.1))


@pytest.mark.long
def test_sound_images_are_not_blamed():
    """What happens to a decoder says nothing about the image."""
    assert_nothing_lost(blame(1))


@pytest.mark.long
def test_hostile_files():
    """Archives, databases, configurations and names of any kind are refused with a message, or read correctly."""
    assert_nothing_lost(archives(100), configurations(400), names())


@pytest.mark.long
def test_several_programs():
    """Two writers and four readers see whole versions; leftovers of a crash are removed."""
    assert_nothing_lost(writers(1), leftovers(), read_only())


@pytest.mark.long
def test_a_small_disk():
    """A build on a full disk resumes when there is room."""
    assert_nothing_lost(small_disk())


@pytest.mark.long
def test_determinism():
    """Batch sizes 1 and 64, one thread and two, and files in another order give the same index and results."""
    assert_nothing_lost(determinism([(7, 1, 0), (64, 2, 0), (1, 2, 1)]))


@pytest.mark.long
def test_edits_of_a_running_classifier():
    """1,000 edits cost less than 20 MB of memory, leave no deleted file open, and each is followed."""
    assert_nothing_lost(edits(1000))


def test_the_table_shows_every_fault():
    """The table has one line per fault, also for those that could not be tried."""
    text = table([Outcome("a", 3, 2, 1, ["why"]), Outcome("b", skipped="no disk")])
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["a", "3", "2", "1", "why"], ["b", "0", "0", "0", "not", "tried:", "no", "disk"],
    ]  # fmt: skip
