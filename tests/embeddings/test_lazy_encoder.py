"""An encoder is loaded once, when it is asked for first; an error stays the same error."""

import threading

import pytest

from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from tests.helpers.encoders import ColorEncoder


def test_it_is_loaded_once_by_any_number_of_threads():
    """And not before the first call."""
    made, start = [], threading.Barrier(4)
    lazy = LazyEncoder(lambda: made.append(ColorEncoder()) or made[-1])
    assert not lazy.is_loaded
    assert not made
    threads = [threading.Thread(target=lambda: (start.wait(), lazy())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert lazy() is made[0]
    assert lazy.is_loaded


def test_an_encoder_that_cannot_be_loaded_raises_the_same_error_again():
    """Without another try, which might take minutes."""
    tried = []

    def load():
        tried.append(1)
        raise OSError("no such model")

    lazy = LazyEncoder(load)
    for _ in range(2):
        with pytest.raises(OSError, match="no such model"):
            lazy()
    assert len(tried) == 1
    assert not lazy.is_loaded
