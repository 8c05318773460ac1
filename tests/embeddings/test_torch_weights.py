"""The reader of torch's first form gives torch's tensors, and runs nothing that a file asks for."""

from io import BytesIO

import pytest

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.embeddings.torch_weights import read_torch_weights

torch = pytest.importorskip("torch", reason="torch is not installed")


def tensors():
    """Tensors of both types: turned, parts of one storage, without numbers and without axes."""
    whole = torch.arange(24.0).reshape(4, 6)
    return {
        "whole": whole,
        "turned": whole.T,
        "part": whole[1:3, ::2],
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "own": torch.linspace(-1, 1, 5),
    }


EMPTY_LAST = {"last": torch.zeros(0)}  # its part of the file is a count alone


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a file of weights."""
    file = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save(tensors(), file, _use_new_zipfile_serialization=False)
    return file.read_bytes()


@pytest.fixture
def read(tmp_path):
    """Return a function that reads bytes as a file of weights."""

    def read_bytes(content):
        file = tmp_path / "given.pth"
        file.write_bytes(content)
        return read_torch_weights(file)

    return read_bytes


def test_the_tensors_are_those_of_torch(content, read):
    """Names, order, types, shapes and numbers are equal."""
    found = read(content)
    assert list(found) == list(tensors())
    for name, tensor in tensors().items():
        expected = tensor.numpy()
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape)
        assert (found[name] == expected).all()


def test_a_file_that_ends_too_early_is_an_error(content, read):
    """At any place."""
    file = BytesIO()
    torch.save(EMPTY_LAST, file, _use_new_zipfile_serialization=False)
    for whole, step in ((content, 7), (file.getvalue(), 1)):
        for length in range(0, len(whole), step):
            with pytest.raises(EncoderError, match="is not a file of weights"):
                read(whole[:length])


@pytest.mark.parametrize(
    "name",
    ["posix\nsystem", "builtins\neval", "torch\nDoubleStorage", "collections\nChainMap", "torch.nn\nModule"],
)
def test_a_name_that_weights_do_not_need_is_an_error(content, read, name):
    """It is named, and never imported or called."""
    hostile = content.replace(b"ctorch\nFloatStorage\n", f"c{name}\n".encode())
    assert hostile != content
    with pytest.raises(EncoderError, match=rf"asks for {name.replace(chr(10), '[.]')}"):
        read(hostile)


@pytest.mark.parametrize("code", [b"cos\nsystem\n(S'touch ran'\ntR.", b"c__builtin__\nexec\n(S'1'\ntR.", b"\x80\x02}."])
def test_a_pickle_of_something_else_is_an_error(read, code, tmp_path, monkeypatch):
    """Code in it does not run."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EncoderError, match="is not a file of weights"):
        read(code)
    assert not (tmp_path / "ran").exists()


def test_a_file_cannot_change_how_tensors_are_made(content, read):
    """State for what the reader gives it is refused, so the next file is read as before."""
    change = b"ctorch._utils\n_rebuild_tensor_v2\n"
    with pytest.raises(EncoderError, match="changes how tensors are made"):
        read(content.replace(change, change + b"}b", 1))
    assert list(read(content)) == list(tensors())


def test_a_tensor_outside_its_storage_is_an_error(content, read):
    """Its shape is compared with the numbers that are there."""
    shape = b"K\x04K\x06\x86"  # (4, 6) in the opcodes of protocol 2
    assert shape in content
    with pytest.raises(EncoderError, match="larger than its storage"):
        read(content.replace(shape, b"K\x04K\x07\x86", 1))
    with pytest.raises(EncoderError, match="is not a file of weights"):
        read(content.replace(shape, b"K\x04J\xff\xff\xff\xff\x86", 1))


def test_a_missing_file_is_an_error(tmp_path):
    """The message names it."""
    with pytest.raises(EncoderError, match=r"gone\.pth cannot be read"):
        read_torch_weights(tmp_path / "gone.pth")
