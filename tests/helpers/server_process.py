"""A server in a process of its own, which tests kill."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from tests.helpers.paths import ROOT


class ServerProcess:
    """A server in a process of its own, which can be killed and started again at the same address."""

    def __init__(self, index, inbox):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url, self._given = f"http://127.0.0.1:{self.port}", (str(index), str(self.port), str(inbox))
        self.start()

    def start(self):
        command = [sys.executable, "-m", "tests.helpers.serve_colors", *self._given]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline().strip() == self.url
        while not self._is_ready:
            time.sleep(0.01)

    def kill(self, how=signal.SIGKILL):
        self._process.send_signal(how)
        self._process.wait(30)
        self._process.stdout.close()

    @property
    def _is_ready(self):
        try:
            return got(self, "/readyz")
        except urllib.error.HTTPError:
            assert self._process.poll() is None
            return False


def got(server, path):
    """Return the JSON of an address."""
    with urllib.request.urlopen(server.url + path, timeout=30) as reply:
        return json.load(reply)
