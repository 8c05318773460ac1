"""Digests are of all bytes. A remembered one is used only for a file that nobody changed."""

import hashlib
import json
import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from lmm_classifier.core import file_digests
from lmm_classifier.core.file_digests import file_digest, files_digest

SIZE = 3 << 20  # bytes: more than what is read each time


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, which remembers files however recent they are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_digests, "_TICK", -1 << 62)
    return tmp_path / "cache" / "lmm-classifier" / "digests"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(random.Random(0).randbytes(SIZE))
    return path


def true_digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("place", [0, 1, SIZE // 2, SIZE - 1])
def test_every_byte_counts(file, cache, place):
    """Not only those at the ends."""
    before = file_digest(file)
    assert before == true_digest(file)
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    assert file_digest(file) == true_digest(file) != before


def test_the_second_time_the_file_is_not_read(file, cache):
    """A made-up entry shows that it is used."""
    file_digest(file)
    (entry,) = cache.iterdir()
    key = json.loads(entry.read_text())["key"]
    made_up = {"key": key, "digest": "f" * 64, "checksum": file_digests._checksum(key, "f" * 64)}
    entry.write_text(json.dumps(made_up))
    assert file_digest(file) == "f" * 64
    link = file.with_name("link")
    link.symlink_to(file)  # as in the cache of the hub
    assert file_digest(link) == "f" * 64


def test_a_change_that_keeps_size_and_time_is_noticed(file, cache):
    """As after `cp -p`, `rsync -t` or `touch -r`: in place, and by another file under the same name."""
    file_digest(file)
    status = file.stat()
    for number, path in enumerate((file, file.with_name("other"))):
        path.write_bytes(random.Random(number + 1).randbytes(SIZE))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        path.replace(file)
        assert (file.stat().st_size, file.stat().st_mtime_ns) == (SIZE, status.st_mtime_ns)
        assert file_digest(file) == true_digest(file)


def test_a_file_that_changed_just_now_is_not_remembered(file, tmp_path, monkeypatch):
    """It could change again within one tick of the clock of the file system."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert file_digest(file) == true_digest(file)
    assert not (tmp_path / "cache").exists()


@pytest.mark.long
def test_any_damage_of_an_entry_is_noticed(file, cache):
    """Of 200 flipped bits, and of files that are no entry, none changes a digest."""
    expected = file_digest(file)
    (entry,) = cache.iterdir()
    sound, rng = entry.read_bytes(), random.Random(0)
    damaged = [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 10_000, sound[:50]]
    for _ in range(200):
        data = bytearray(sound)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        damaged.append(bytes(data))
    for data in damaged:
        entry.write_bytes(data)
        assert file_digest(file) == expected


@pytest.mark.parametrize("base", ["/dev/null/nowhere", "/proc/nowhere", ""])
def test_without_a_writable_cache_the_digest_is_the_same(file, monkeypatch, base):
    """A read-only home, and none at all."""
    monkeypatch.setenv("XDG_CACHE_HOME", base)
    monkeypatch.setattr(file_digests, "_TICK", -1 << 62)
    if not base:
        monkeypatch.setattr(file_digests, "user_cache", lambda: None)
    assert file_digest(file) == true_digest(file)


def test_many_writers_at_once(file, cache):
    """Each gets the digest, and one sound entry remains."""
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(file_digest, [file] * 24)) == {true_digest(file)}
    assert [entry.suffix for entry in cache.iterdir()] == [".json"]


def test_the_cache_stays_small(tmp_path, cache, monkeypatch):
    """The oldest entries are removed."""
    monkeypatch.setattr(file_digests, "_SMALL", 0)
    monkeypatch.setattr(file_digests, "_MOST", 3)
    for number in range(6):
        (tmp_path / str(number)).write_bytes(b"x")
        file_digest(tmp_path / str(number))
    assert len(list(cache.iterdir())) == 3


def test_names_and_missing_files_count(tmp_path):
    """A digest of several files tells which is which, and whether one is missing."""
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    pair = {"x": tmp_path / "a", "y": tmp_path / "b"}
    digests = {
        files_digest(pair),
        files_digest({"x": tmp_path / "b", "y": tmp_path / "a"}),
        files_digest({"x": tmp_path / "a"}),
        files_digest({**pair, "z": tmp_path / "missing"}),
    }
    assert len(digests) == 4
    moved = shutil.copytree(tmp_path, tmp_path.with_name("moved"))
    assert files_digest({"y": moved / "b", "x": moved / "a"}) == files_digest(pair)
