"""Decoding in separate processes: a crash or a hang costs one file, and output of libraries is discarded."""

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
from lmm_classifier.data.images import ImageLimits, decode, read_images

SETTINGS = {"max_pixels": 1_000_000, "min_side": None}
FRAGILE = """
import os, signal, time
from lmm_classifier.data import decoder_worker, images
real = images.decode_in_process
def decode_in_process(data, *rest):
    if b"CRASH" in data:
        os.kill(os.getpid(), signal.SIGSEGV)
    if b"HANG" in data:
        time.sleep(60)
    if b"NOISE" in data:
        print("noise", flush=True)
        os.write(2, b"more noise")
    return real(data, *rest)
images.decode_in_process = decode_in_process
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
def test_a_separate_process_gives_the_same_pixels(kind):
    """The image does not depend on the process that decodes it."""
    data = encoded(kind)
    separate, own = (decode(data, ImageLimits(decode_in_subprocess=choice)) for choice in ("auto", "off"))
    assert separate.tobytes() == own.tobytes()
    assert decode(encoded("PNG"), ImageLimits(decode_in_subprocess="all")).size == (40, 30)


def test_errors_of_the_process_reach_the_caller(pool):
    """An error has the type and the message that it has in this process."""
    with pytest.raises(ImageTooLargeError, match="at most 10 are decoded"):
        pool.decode(encoded(), {"max_pixels": 10, "min_side": None})
    with pytest.raises(ImageError) as separate:
        decode(encoded()[:100])
    with pytest.raises(ImageError) as own:
        decode(encoded()[:100], ImageLimits(decode_in_subprocess="off"))
    assert (type(separate.value), str(separate.value)) == (type(own.value), str(own.value))
    assert pool.started == 1


def test_a_crash_costs_one_image(pool):
    """Another process decodes the next image."""
    assert pool.decode(encoded(), SETTINGS)[0] == (40, 30)
    with pytest.raises(CorruptImageError, match=r"crashed its decoder \(code -11\)"):
        pool.decode(encoded(comment=b"CRASH"), SETTINGS)
    assert pool.decode(encoded(), SETTINGS)[0] == (40, 30)
    assert pool.started == 2


def test_a_hang_is_ended():
    """An image that takes too long is refused when its time is over."""
    pool = DecoderPool([sys.executable, "-c", FRAGILE], seconds=1.5)
    started = time.monotonic()
    with pytest.raises(CorruptImageError, match=r"took longer than 1\.5 s"):
        pool.decode(encoded(comment=b"HANG"), SETTINGS)
    assert time.monotonic() - started < 20
    pool.close()


def test_output_of_libraries_is_discarded(pool, capfd):
    """It reaches neither the terminal nor the pixels."""
    (size, pixels) = pool.decode(encoded(comment=b"NOISE"), SETTINGS)
    assert (size, len(pixels)) == ((40, 30), 3600)
    assert capfd.readouterr() == ("", "")


def test_memory_is_limited():
    """An image that needs more memory than the limit is refused, and the next image is decoded."""
    data = encoded("TIFF", (8000, 8000))
    code = "from lmm_classifier.data import decoder_worker\ndecoder_worker.MEMORY = 600 << 20\ndecoder_worker.main()"
    pool = DecoderPool([sys.executable, "-c", code])
    assert pool.decode(encoded(), SETTINGS)[0] == (40, 30)
    with pytest.raises(ImageError, match="too large|damaged|crashed"):
        pool.decode(data, {"max_pixels": 64_000_000, "min_side": None})
    assert pool.decode(encoded(), SETTINGS)[0] == (40, 30)
    pool.close()


def test_a_killed_process_in_a_run(tmp_path):
    """Files before and after one whose decoder is killed are read, and that file gives an error."""
    import lmm_classifier.data.decoder_pool as module

    for number in range(6):
        (tmp_path / f"{number}.tif").write_bytes(encoded(comment=b"CRASH" if number == 2 else b""))
    real = module.POOL._command
    module.POOL.close()
    module.POOL._command = [sys.executable, "-c", FRAGILE]
    try:
        results = list(read_images(sorted(tmp_path.iterdir()), ImageLimits(), None, 2))
    finally:
        module.POOL.close()
        module.POOL._command = real
    assert [isinstance(result, ImageError) for result in results] == [False, False, True, False, False, False]


def test_no_process_is_left(tmp_path):
    """When the program ends or is killed, its decoders end too."""
    (tmp_path / "x.tif").write_bytes(encoded())
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from lmm_classifier.data.images import read_image\nfrom lmm_classifier.data.decoder_pool import POOL\n"
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
