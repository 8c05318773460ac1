"""Decoding in processes of their own: a crash, a hang or chatter there costs one file."""

import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.errors import CorruptImageError, ImageError, ImageTooLargeError
from lmm_classifier.data.decoder_pool import DecoderPool
from lmm_classifier.data.images import ImageLimits, decode, read_pictures

SETTINGS = {"max_pixels": 1_000_000, "min_side": None}
FRAGILE = """
import os, signal, time
from lmm_classifier.data import decoder_worker, images
real = images.decode_here
def decode_here(data, *rest):
    if b"CRASH" in data:
        os.kill(os.getpid(), signal.SIGSEGV)
    if b"HANG" in data:
        time.sleep(60)
    if b"CHATTER" in data:
        print("noise", flush=True)
        os.write(2, b"more noise")
    return real(data, *rest)
images.decode_here = decode_here
decoder_worker.main()
"""


def encoded(kind="TIFF", size=(40, 30), comment=b""):
    stream = BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue() + comment


@pytest.fixture
def pool():
    pool = DecoderPool([sys.executable, "-c", FRAGILE], seconds=5)
    yield pool
    pool.close()


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
def test_the_same_pixels(kind):
    """A process of its own, or this one: the picture is the same."""
    data = encoded(kind)
    apart, here = (decode(data, ImageLimits(isolate=how)) for how in ("auto", "off"))
    assert apart.tobytes() == here.tobytes()
    assert decode(encoded("PNG"), ImageLimits(isolate="all")).size == (40, 30)


def test_refusals_come_through(pool):
    """What the process refuses has the kind and the words that it has here."""
    with pytest.raises(ImageTooLargeError, match="at most 10 are decoded"):
        pool.decode(encoded(), {"max_pixels": 10, "min_side": None})
    with pytest.raises(ImageError) as there:
        decode(encoded()[:100])
    with pytest.raises(ImageError) as here:
        decode(encoded()[:100], ImageLimits(isolate="off"))
    assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))
    assert pool.started == 1


def test_a_crash_costs_one_picture(pool):
    """The next picture is decoded, by another process."""
    assert pool.decode(encoded(), SETTINGS)[0] == (40, 30)
    with pytest.raises(CorruptImageError, match=r"crashed its decoder \(code -11\)"):
        pool.decode(encoded(comment=b"CRASH"), SETTINGS)
    assert pool.decode(encoded(), SETTINGS)[0] == (40, 30)
    assert pool.started == 2


def test_a_hang_is_ended():
    """A picture that takes too long is refused when its time is over."""
    pool = DecoderPool([sys.executable, "-c", FRAGILE], seconds=1.5)
    started = time.monotonic()
    with pytest.raises(CorruptImageError, match=r"took longer than 1\.5 s"):
        pool.decode(encoded(comment=b"HANG"), SETTINGS)
    assert time.monotonic() - started < 20
    pool.close()


def test_chatter_stays_off_the_terminal(pool, capfd):
    """What a library prints reaches neither the terminal nor the pixels."""
    (size, pixels) = pool.decode(encoded(comment=b"CHATTER"), SETTINGS)
    assert (size, len(pixels)) == ((40, 30), 3600)
    assert capfd.readouterr() == ("", "")


def test_memory_is_limited():
    """A picture that would take more memory than there is to be had is refused; this process does not grow."""
    data = encoded("TIFF", (8000, 8000))
    code = "from lmm_classifier.data import decoder_worker\ndecoder_worker.MEMORY = 600 << 20\ndecoder_worker.main()"
    pool = DecoderPool([sys.executable, "-c", code])
    assert pool.decode(encoded(), SETTINGS)[0] == (40, 30)
    with pytest.raises(ImageError, match="too large|damaged|crashed"):
        pool.decode(data, {"max_pixels": 64_000_000, "min_side": None})
    assert pool.decode(encoded(), SETTINGS)[0] == (40, 30)
    pool.close()


def test_a_killed_worker_in_a_run(tmp_path):
    """Files before and after one whose decoder is shot are read, and it is listed."""
    import lmm_classifier.data.decoder_pool as module

    for number in range(6):
        (tmp_path / f"{number}.tif").write_bytes(encoded(comment=b"CRASH" if number == 2 else b""))
    real = module.POOL._command
    module.POOL.close()
    module.POOL._command = [sys.executable, "-c", FRAGILE]
    try:
        found = list(read_pictures(sorted(tmp_path.iterdir()), ImageLimits(), None, 2))
    finally:
        module.POOL.close()
        module.POOL._command = real
    assert [isinstance(one, ImageError) for one in found] == [False, False, True, False, False, False]


def test_no_process_is_left(tmp_path):
    """When the program ends, or is killed, its decoders end too."""
    (tmp_path / "x.tif").write_bytes(encoded())
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from lmm_classifier.data.images import read_picture\nfrom lmm_classifier.data.decoder_pool import POOL\n"
        "read_picture(Path(sys.argv[1])); print(POOL._idle[0].pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.tif"], capture_output=True, text=True, check=False)
    stat = Path(f"/proc/{int(done.stdout)}/stat")
    deadline = time.monotonic() + 10
    while stat.exists() and stat.read_text().split()[2] != "Z":  # a zombie is dead; nobody has asked after it yet
        assert time.monotonic() < deadline
        time.sleep(0.05)
