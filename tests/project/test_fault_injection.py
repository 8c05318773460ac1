"""The long suite of faults (`make reliability`) in short, and that it would find a loss if there were one."""

import pytest

from benchmarks.fault_injection.__main__ import table
from benchmarks.fault_injection.determinism import determinism
from benchmarks.fault_injection.flips import archive_flips, flips
from benchmarks.fault_injection.hostile import archives, configurations, names
from benchmarks.fault_injection.interruptions import interruptions
from benchmarks.fault_injection.outcome import Outcome
from benchmarks.fault_injection.pictures import malformed, mutations
from benchmarks.fault_injection.writers import leftovers, read_only, small_disk, writers


def assert_nothing_lost(*outcomes):
    for one in outcomes:
        assert not one.lost, f"{one.fault}: {one.notes}"
    if all(one.skipped for one in outcomes):
        pytest.skip(outcomes[0].skipped)
    assert all(one.tried or one.skipped for one in outcomes)


def test_interruptions():
    """Killed, or with a failing disk, at any call: nothing committed is lost, nothing is encoded twice."""
    assert_nothing_lost(*interruptions(42, 9, 18))


def test_the_harness_finds_a_loss():
    """A build that tells of pictures before they are committed is found out."""
    found = interruptions(20, 0, 0, ["boast"])[0]
    if found.skipped:
        pytest.skip(found.skipped)
    assert found.lost
    assert "were said to be committed" in found.notes[0]


def test_flipped_bits():
    """Each is noticed or changes nothing; what is noticed is mended."""
    assert_nothing_lost(flips(80), archive_flips(40))


def test_mutated_pictures():
    """Decoded or refused: no crash, no hang, little memory, no noise."""
    assert_nothing_lost(mutations(3000))


def test_malformed_pictures(shared):
    """The same for a collection of broken files."""
    assert_nothing_lost(malformed(shared / "badimages/badimages.tar.xz"))


def test_hostile_files():
    """Archives, databases, configurations and names of any kind: refused in words, or read right."""
    assert_nothing_lost(archives(100), configurations(400), names())


def test_several_programs():
    """Two that write and four that read see whole versions; what a crash left behind is swept."""
    assert_nothing_lost(writers(1), leftovers(), read_only())


def test_a_small_disk():
    """A build on a disk that is full goes on when there is room."""
    assert_nothing_lost(small_disk())


def test_the_same_bits():
    """Batch 1 and 64, one thread and two, files in another order: the same index and verdicts."""
    assert_nothing_lost(determinism([(7, 1, 0), (64, 2, 0), (1, 2, 1)]))


def test_the_table_tells_all():
    """One line a fault, with what could not be tried."""
    text = table([Outcome("a", 3, 2, 1, ["why"]), Outcome("b", skipped="no disk")])
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["a", "3", "2", "1", "why"], ["b", "0", "0", "0", "not", "tried:", "no", "disk"],
    ]  # fmt: skip
