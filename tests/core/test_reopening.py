"""Objects that hold something are copied by the arguments that opened them."""

import copy
import pickle
from pathlib import Path

from lmm_classifier.core.reopening import Closable, Reopened


class Holder(Reopened):
    """Holds an open file, which cannot be pickled."""

    def __init__(self, path, mode="rb", *, name="holder"):
        self.path, self.name = path, name
        self.file = Path(path).open(mode)  # noqa: SIM115

    def close(self):
        """Close the file."""
        self.file.close()


def test_a_copy_opens_the_same_again(tmp_path, monkeypatch):
    """By pickle and by copy, and also from another folder."""
    (tmp_path / "a.txt").write_text("text")
    monkeypatch.chdir(tmp_path)
    original = Holder(Path("a.txt"), name="first")
    monkeypatch.chdir("/")
    copies = [pickle.loads(pickle.dumps(original)), copy.copy(original), copy.deepcopy(original)]
    copies.append(pickle.loads(pickle.dumps(copies[0])))
    for other in copies:
        assert isinstance(other, Closable)
        assert (other.name, other.path, other.file.read()) == ("first", tmp_path / "a.txt", b"text")
        other.close()
    assert original.file.read() == b"text"
    original.close()
