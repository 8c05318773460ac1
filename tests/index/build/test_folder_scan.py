"""Only what the bytes of a file prove is stored of it: a failure that may pass is tried again by the next build."""

import contextlib
import errno
import os
import sqlite3
import subprocess
import sys
import textwrap

import pytest
from PIL import Image

from lmm_classifier.core.errors import DatasetError, EncoderError
from lmm_classifier.data import file_content, images
from lmm_classifier.data.decoding import decoder_pool, decoder_start
from lmm_classifier.data.decoding.decoder_pool import POOL
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.storage.store import Store
from tests.helpers.datasets import draw_dataset, offline_config

KINDS = {"stripes": ["tif", "webp", "jpg", "png"], "gingham": ["png", "png", "jpg", "jpg"]}


@pytest.fixture
def place(tmp_path):
    """A dataset of eight sound images of four formats, and a damaged one."""
    root = draw_dataset(tmp_path / "dataset", ["stripes", "gingham"], 4, size=40)
    for folder in root.iterdir():
        for kind, path in zip(KINDS[folder.name], sorted(folder.glob("*.png"))):
            image = Image.open(path)
            image.load()
            path.unlink()
            image.convert("RGB").save(path.with_suffix(f".{kind}"))
    (root / "stripes" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 nonsense")
    return tmp_path


def build(place, **settings):
    config = offline_config(place / "index", **settings)
    config.images.threads = 2
    return build_index_from_directory(place / "dataset", place / "index", config=config)


def stored_refusals(place):
    if not (place / "index").exists():
        return {}
    with Store(place / "index", wait=5) as store:
        return {file.path: file.kind for file in store.known_files() if file.kind}


def assert_sound_images_stay_usable(place, first):
    """The first build listed what it could not decode; a healthy one indexes all eight sound images."""
    assert {skipped.kind for skipped in first.skipped} <= {"not_decoded", "unreadable", "no_vector", "corrupt"}
    assert set(stored_refusals(place)) <= {"stripes/bad.jpg"}
    second = build(place)
    assert second.total == 8
    assert [skipped.path for skipped in second.skipped] == ["stripes/bad.jpg"]


@pytest.fixture
def program():
    """A function that sets the program of the decoder processes, until the test ends."""

    def use(code):
        POOL.close()
        POOL.program = code

    yield use
    use(decoder_start.PROGRAM)


ENDINGS = {
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "crashed": "os.kill(os.getpid(), signal.SIGSEGV)",
    "its lifetime is over": "os.kill(os.getpid(), signal.SIGXCPU)",
    "out of memory": "raise MemoryError",
    "out of memory, in words": "raise OSError('out of memory error when reading image file')",
    "no file handles": f"raise OSError({errno.EMFILE}, 'Too many open files')",
    "no device": f"raise OSError({errno.EIO}, 'Input/output error')",
    "no threads": 'raise RuntimeError("can\'t start new thread")',
    "no module": "raise ImportError('cannot load')",
}


SHORT = ("killed",)
CASES = [name if name in SHORT else pytest.param(name, marks=pytest.mark.long) for name in ENDINGS]


@pytest.mark.parametrize("ending", CASES)
def test_what_ends_a_decoder_process_is_not_stored(place, program, ending):
    """A process that is killed or crashes, or lacks what the system gives, says nothing about the file."""
    code = textwrap.dedent(
        f"""
        import os, signal
        from PIL import Image
        from lmm_classifier.data.decoding import decoder_worker
        def open_image(*arguments, **options):
            {ENDINGS[ending]}
        Image.open = open_image
        decoder_worker.main()
        """
    )
    program(code)
    first = build(place)
    assert {skipped.path for skipped in first.skipped} >= {"stripes/00.tif", "stripes/01.webp"}
    program(decoder_start.PROGRAM)
    assert_sound_images_stay_usable(place, first)


IN_PROCESS = {
    "out of memory": MemoryError(),
    "no file handles": OSError(errno.EMFILE, "Too many open files"),
    "no device": OSError(errno.EIO, "Input/output error"),
    "no threads": RuntimeError("can't start new thread"),
}


@pytest.mark.parametrize("failure", IN_PROCESS)
def test_a_failure_of_the_system_in_this_process_is_not_stored(place, monkeypatch, failure):
    """The same for formats that are decoded in the program itself."""

    def fail(*_, **__):
        raise IN_PROCESS[failure]

    with monkeypatch.context() as patch:
        patch.setattr(images.Image, "open", fail)
        patch.setattr(decoder_pool.POOL, "decode", lambda data, *_: images.decode_in_process(data))
        with pytest.raises(DatasetError, match="None of the 9 images"):
            build(place)
    assert stored_refusals(place) == {}
    assert build(place).total == 8


def test_a_file_that_cannot_be_read_is_not_stored(place, monkeypatch):
    """Reading fails with an error of the device."""
    broken = {path.stat().st_ino for path in (place / "dataset").rglob("*.jpg") if path.stem != "bad"}
    real = file_content._read_all

    def fail(handle, most):
        if os.fstat(handle).st_ino in broken:
            raise OSError(errno.EIO, "Input/output error")
        return real(handle, most)

    with monkeypatch.context() as patch:
        patch.setattr(file_content, "_read_all", fail)
        first = build(place)
    assert_sound_images_stay_usable(place, first)


@pytest.mark.long
def test_a_build_in_too_little_memory_refuses_no_sound_image(place):
    """Decoders call a lack of memory damage: under a limit of the process no refusal is stored."""
    large = Image.effect_noise((3000, 3000), 90).convert("RGB")
    for label in ("stripes", "gingham"):
        large.save(place / "dataset" / label / "large.jpg", quality=70, progressive=True)
    code = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        from lmm_classifier.config import PipelineConfig
        from lmm_classifier.index.build.builder import build_index_from_directory
        config = PipelineConfig.offline()
        config.images.threads = 1
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (50 << 20), resource.RLIM_INFINITY))
        build_index_from_directory(Path(sys.argv[1]), Path(sys.argv[2]), config=config)
        """
    )
    command = [sys.executable, "-c", code, place / "dataset", place / "index"]
    subprocess.run(command, capture_output=True, check=False)
    assert stored_refusals(place) == {}
    second = build(place)
    assert second.total == 10


@pytest.mark.long
def test_processes_that_are_killed_at_random_cost_no_image(place, program):
    """Every second process is killed; the suspects are tried again alone."""
    counter = place / "count"
    program(
        textwrap.dedent(
            f"""
            import os, signal
            from PIL import Image
            from lmm_classifier.data.decoding import decoder_worker
            real = Image.open
            def open_image(*arguments, **options):
                with open({str(counter)!r}, "ab") as file:
                    file.write(b"x")
                    number = file.tell()
                if number % 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)
            Image.open = open_image
            decoder_worker.main()
            """
        )
    )
    config = offline_config(place / "index")
    config.images.threads = 1
    report = build_index_from_directory(place / "dataset", place / "index", config=config)
    assert report.total == 8


def test_an_encoder_that_fails_once_says_nothing_about_the_image(place, monkeypatch):
    """A device without memory refuses each image of a build of one; a later build encodes it."""
    for path in sorted((place / "dataset").rglob("*.*"))[1:]:
        path.unlink()

    def fail(*_):
        raise EncoderError("the memory of cuda is too small for one image")

    with monkeypatch.context() as patch:
        patch.setattr(DescriptorEncoder, "encode", fail)
        with pytest.raises(DatasetError, match="too small for one image"):
            build(place)
    assert build(place).total == 1


def test_what_the_bytes_prove_is_stored_and_decided_again_for_other_limits(place, monkeypatch):
    """A damaged file is not read again; an image above a limit is, when the limit changes."""
    build(place)
    assert stored_refusals(place) == {"stripes/bad.jpg": "corrupt"}
    with monkeypatch.context() as patch:
        patch.setattr(images, "decode", lambda *_: pytest.fail("a known file was decoded"))
        assert build(place).total == 8
    (place / "index" / "index.sqlite").unlink()
    config = offline_config(place / "index")
    config.images.max_pixels = 100
    with pytest.raises(DatasetError, match="at most 100 are decoded"):
        build_index_from_directory(place / "dataset", place / "index", config=config)
    assert build(place).total == 8


@pytest.mark.long
def test_an_image_added_by_hand_is_not_lost_to_a_passing_failure(place, program):
    """Its vector is missing and its decoder is killed: the sync stops, and the next one has the example."""
    build(place)
    config = offline_config(place / "index")
    editor = IndexEditor(place / "index", config)
    Image.effect_noise((40, 40), 90).convert("RGB").save(place / "new.tif")
    editor.add([place / "new.tif"], "stripes")
    with Store(place / "index", wait=5) as store:
        (added,) = [record for record in store.records() if record.path.startswith(ADDED)]
    with contextlib.closing(sqlite3.connect(place / "index" / "index.sqlite")) as connection:
        connection.execute("DELETE FROM vectors WHERE key = (SELECT MAX(key) FROM vectors)")  # that of the added image
        connection.commit()
    program("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(DatasetError, match="added by hand, could not be read now"):
        editor.sync()
    program(decoder_start.PROGRAM)
    editor.sync()
    assert added.path in editor.examples_of("stripes")
