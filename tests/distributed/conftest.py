"""One dataset for all tests of the room: a chunk waits until its newest file is two seconds old."""

import pytest

from tests.helpers.chunked_builds import make_labeled


@pytest.fixture(scope="session")
def labeled(tmp_path_factory):
    """36 files of four labels; nobody changes them."""
    return make_labeled(tmp_path_factory.mktemp("labeled"))
