"""A worker that hangs ends; one with progress does not."""

import subprocess
import sys

from lmm_classifier.distributed.watchdog import EXIT_CODE

HANG = """
import threading
from lmm_classifier.distributed.watchdog import Watchdog
with Watchdog(0.05, "chunk abc"):
    threading.Event().wait()
"""
WORK = """
import threading
from lmm_classifier.distributed.watchdog import Watchdog
for _ in range(2):
    with Watchdog(600, "chunk abc") as watchdog:
        for _ in range(3):
            watchdog.beat()
assert not [thread for thread in threading.enumerate() if thread.name == "watchdog"]
"""


def test_a_worker_that_hangs_ends_with_a_message():
    """Its task is then tried again."""
    done = subprocess.run([sys.executable, "-c", HANG], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == EXIT_CODE
    assert "chunk abc: no batch was finished" in done.stderr


def test_a_worker_with_progress_is_left_alone():
    """And the thread ends with the block."""
    subprocess.run([sys.executable, "-c", WORK], check=True, timeout=60)
