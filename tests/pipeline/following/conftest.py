"""Threads that follow an index, as a test alone sees them."""

import threading

import pytest


@pytest.fixture
def followers():
    """Return a function that lists the threads that began since, and follow: a live server of other tests has one."""
    before = set(threading.enumerate())

    def since():
        return [thread for thread in threading.enumerate() if thread.name == "follow-index" and thread not in before]

    return since
