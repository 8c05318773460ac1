"""Decoding in separate processes: what ends a process costs one image at most, and says nothing about the file."""

import contextlib
import os
import resource
import subprocess
import sys
import threading
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.errors import CorruptImageError, ImageError, ImageTooLargeError, UndecodedImageError
from lmm_classifier.data.decoding import decoder_pool, decoder_start
from lmm_classifier.data.decoding.decoder_pool import DecoderPool
from lmm_classifier.data.images import decode, read_images
from lmm_classifier.data.limits import ImageLimits

LIMITS = ImageLimits(max_pixels=1_000_000)
FRAGILE = """
import os, signal, time
from lmm_classifier.data import images
from lmm_classifier.data.decoding import decoder_worker
real = images.decode_in_process
def decode_in_process(data, *rest):
    if b"CRASH" in data:
        os.kill(os.getpid(), signal.SIGSEGV)
    if b"HANG" in data:
        time.sleep(60)
    if b"COMPUTE" in data:
        while True:
            pass
    if b"ALLOCATE" in data:
        blocks = [bytearray(1 << 20) for _ in range(4000)]
    if b"NOISE" in data:
        print("noise", flush=True)
        os.write(2, b"more noise")
    return real(data, *rest)
images.decode_in_process = decode_in_process
decoder_worker.main()
"""
ONCE = """
import os, signal, sys
from pathlib import Path
mark = Path({mark!r})
""" + FRAGILE.replace("    if b\"CRASH\" in data:", "    if not mark.exists():\n        mark.touch()")  # fmt: skip


def encoded(kind="TIFF", size=(40, 30), comment=b""):
    stream = BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue() + comment


@pytest.fixture
def pool():
    pool = DecoderPool(FRAGILE, seconds=20)
    yield pool
    pool.close()


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "WEBP"])
def test_a_separate_process_gives_the_same_pixels(kind):
    """The image does not depend on the process that decodes it."""
    data = encoded(kind)
    separate, own = (decode(data, ImageLimits(decode_in_subprocess=choice)) for choice in ("auto", "off"))
    assert separate.tobytes() == own.tobytes()
    assert decode(encoded("PNG"), ImageLimits(decode_in_subprocess="all")).size == (40, 30)


def test_a_large_image_comes_in_strips():
    """The pixels of an image of several strips arrive in order."""
    numbers = np.arange(1500 * 1000, dtype=np.uint32).view(np.uint8)
    ramp = Image.fromarray(numbers.reshape(1500, 1000, 4)[..., :3].copy())
    stream = BytesIO()
    ramp.save(stream, "TIFF")
    assert decode(stream.getvalue()).tobytes() == ramp.tobytes()


def test_errors_of_the_process_reach_the_caller(pool):
    """An error has the type and the message that it has in this process."""
    with pytest.raises(ImageTooLargeError, match="at most 10 are decoded"):
        pool.decode(encoded(), ImageLimits(max_pixels=10))
    with pytest.raises(ImageError) as separate:
        decode(encoded()[:100])
    with pytest.raises(ImageError) as own:
        decode(encoded()[:100], ImageLimits(decode_in_subprocess="off"))
    assert (type(separate.value), str(separate.value)) == (type(own.value), str(own.value))
    assert pool.started == 1


@pytest.mark.long
def test_a_crash_costs_one_image_and_says_nothing_about_it(pool):
    """The image is tried once more in a new process, and another process decodes the next image."""
    assert pool.decode(encoded(), LIMITS).size == (40, 30)
    with pytest.raises(UndecodedImageError, match="ended with code -11") as caught:
        pool.decode(encoded(comment=b"CRASH"), LIMITS)
    assert not caught.value.proven
    assert pool.decode(encoded(), LIMITS).size == (40, 30)
    assert pool.started == 3


@pytest.mark.long
def test_an_image_whose_process_was_killed_once_is_decoded(tmp_path):
    """The suspect is tried once more, alone, in a new process."""
    pool = DecoderPool(ONCE.format(mark=str(tmp_path / "mark")))
    assert pool.decode(encoded(), LIMITS).size == (40, 30)
    assert (tmp_path / "mark").exists()
    assert pool.started == 2
    pool.close()


def test_a_hang_is_ended():
    """An image whose decoder gives no answer is given up when its time is over."""
    pool = DecoderPool(FRAGILE, seconds=1)
    with pytest.raises(UndecodedImageError, match=r"gave no answer for 1 s"):
        pool.decode(encoded(comment=b"HANG"), LIMITS)
    pool.close()


@pytest.mark.long
def test_processor_time_is_limited_for_each_image(pool):
    """Many images may take more time together than one may take; one that takes more is given up."""
    limits = ImageLimits(max_seconds=0.2)
    for _ in range(30):
        pool.decode(encoded(size=(400, 300)), limits)
    assert pool.started == 1
    with pytest.raises(UndecodedImageError, match=r"more processor time than images.max_seconds \(0.2 s\)"):
        pool.decode(encoded(comment=b"COMPUTE"), limits)
    assert pool.started == 1, "an image that spent its time is not tried again"


@pytest.mark.long
def test_memory_is_limited_for_each_image(pool):
    """An image that needs more is refused for now, by a message that names the setting, and the next is decoded."""
    for _ in range(2):
        with pytest.raises(UndecodedImageError, match=r"images.max_memory \(100 MB\)"):
            pool.decode(encoded(comment=b"ALLOCATE"), ImageLimits(max_memory=100_000_000))
        assert pool.decode(encoded(), LIMITS).size == (40, 30)
    assert pool.started == 1


def test_pixels_that_are_passed_on_are_counted_twice_and_the_file_with_them(pool):
    """The refusal follows from the file alone, so that it is proven."""
    data = encoded(size=(3000, 2000))
    needed = 8 * 6_000_000 + len(data)
    with pytest.raises(ImageTooLargeError, match=r"66 MB of memory .* at most 65 MB .* images\.max_memory") as caught:
        pool.decode(data, ImageLimits(max_memory=65_900_000))
    assert caught.value.proven
    assert needed == pytest.approx(66_000_000, rel=0.001)
    with pytest.raises(ImageTooLargeError, match="in this process and its decoder"):
        decode(data, ImageLimits(max_memory=35_000_000))


@pytest.mark.long
def test_a_refusal_is_proven_only_where_memory_is_not_limited():
    """Under a limit that the process inherits, a decoder may call a sound file damaged."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.RLIM_INFINITY))\n"
    limited, free = DecoderPool(code + decoder_start.PROGRAM), DecoderPool()
    with pytest.raises(UndecodedImageError, match="damaged"):
        limited.decode(encoded()[:100], LIMITS)
    with pytest.raises(CorruptImageError, match="damaged"):
        free.decode(encoded()[:100], LIMITS)
    with pytest.raises(UndecodedImageError, match="damaged"):
        free.decode(encoded()[:100], LIMITS, memory=1 << 60)
    limited.close()
    free.close()


def test_a_system_without_processes_threads_or_file_handles_says_nothing_about_the_file(pool, monkeypatch):
    """No process can be started: the image is refused for now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        while True:
            try:
                held.append(os.dup(0))
            except OSError:
                break
        with pytest.raises(UndecodedImageError, match="cannot be started"):
            pool.decode(encoded(), LIMITS)
    finally:
        for handle in held:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert pool.decode(encoded(), LIMITS).size == (40, 30)

    def no_threads(*_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Timer, "start", no_threads)
        with pytest.raises(UndecodedImageError, match="ended"):
            pool.decode(encoded(), LIMITS)


def test_output_of_libraries_is_discarded(pool, capfd):
    """It reaches neither the terminal nor the pixels."""
    image = pool.decode(encoded(comment=b"NOISE"), LIMITS)
    assert (image.size, len(image.tobytes())) == ((40, 30), 3600)
    assert capfd.readouterr() == ("", "")


def test_a_killed_process_in_a_run(tmp_path):
    """Files before and after one whose decoder is killed are read, and that file gives an error."""
    for number in range(6):
        (tmp_path / f"{number}.tif").write_bytes(encoded(comment=b"CRASH" if number == 2 else b""))
    decoder_pool.POOL.close()
    decoder_pool.POOL.program = FRAGILE
    try:
        results = list(read_images(sorted(tmp_path.iterdir()), ImageLimits(), None, 2))
    finally:
        decoder_pool.POOL.close()
        decoder_pool.POOL.program = decoder_start.PROGRAM
    assert [isinstance(result, ImageError) for result in results] == [False, False, True, False, False, False]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_decodes_while_the_pool_is_in_use(pool):
    """Locks that a thread of the parent holds are free in the child, and the parent's processes are left alone."""
    pool.decode(encoded(), LIMITS)
    with pool._lock, pool._alone:
        child = os.fork()
        if child == 0:
            code = 2
            with contextlib.suppress(BaseException):
                code = 0 if pool.decode(encoded(), LIMITS).size == (40, 30) else 1
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.decode(encoded(), LIMITS).size == (40, 30)
    assert pool.started == 1


def test_no_process_is_left(tmp_path):
    """When the program ends or is killed, its decoders end too."""
    (tmp_path / "x.tif").write_bytes(encoded())
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from lmm_classifier.data.images import read_image\n"
        "from lmm_classifier.data.decoding.decoder_pool import POOL\n"
        "read_image(Path(sys.argv[1])); print(POOL._idle[0].pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.tif"], capture_output=True, text=True, check=False)
    stat = Path(f"/proc/{int(done.stdout)}/stat")
    deadline = time.monotonic() + 10
    while (
        stat.exists() and stat.read_text().split()[2] != "Z"
    ):  # a zombie is dead, but its parent has not read its status
        assert time.monotonic() < deadline
        time.sleep(0.05)
