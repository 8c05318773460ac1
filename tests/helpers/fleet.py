"""Several servers of a vision-language model with a router in front, each in a process of its own."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.helpers.paths import ROOT

_START_SECONDS = 300.0  # a busy machine imports torch slowly


def free_port():
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class ServedProcess:
    """A program that answers HTTP on loopback; it is ended when the context ends."""

    def __init__(self, command, port, log, ready="/health", environment=None):
        self.port, self.url, self._log = port, f"http://127.0.0.1:{port}", log
        with log.open("w") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, cwd=ROOT, env={**os.environ, **(environment or {})}
            )
        self._ready = ready

    def wait(self):
        """Return when it answers; raise AssertionError with its output when it ended instead."""
        until = time.monotonic() + _START_SECONDS
        while not is_there(self.port, self._ready):
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < until, self._log.read_text()[-2000:]
            time.sleep(0.1)
        return self

    def kill(self, how=signal.SIGKILL):
        """End it at once."""
        self._process.send_signal(how)
        self._process.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self.kill(signal.SIGTERM)


def is_there(port, path):
    """Return whether a server answers a path with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def tiny_server(log):
    """Start `transformers serve` with the tiny checkpoint; `wait` until it answers."""
    port = free_port()
    command = [sys.executable, "-m", "tests.helpers.serve_tiny", "serve", "--host", "127.0.0.1", "--port", str(port)]
    # one thread each: several servers share the cores of one machine
    environment = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    return ServedProcess([*command, "--device", "cpu"], port, log, environment=environment)


# of a chat, what `transformers serve` accepts: it refuses a request that has another field, whatever its value
_FIELDS = {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "logprobs", "top_logprobs"}
_FIELDS |= {"stream", "response_format", "chat_template_kwargs"}


class Proxy:
    """Passes requests to a server; a chat waits some seconds before. `url` is where it listens.

    The routers of vLLM and SGLang write fields of their own into each chat, which those servers know. With `strict`
    they are left out, for servers that do not know them.
    """

    def __init__(self, server, seconds=0.0, strict=False):
        self.chats = 0  # that were passed on
        proxy, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self._pass(None)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.endswith("/chat/completions"):
                    with lock:
                        proxy.chats += 1
                    time.sleep(seconds)
                    if strict:
                        known = {name: value for name, value in json.loads(body).items() if name in _FIELDS}
                        body = json.dumps({name: value for name, value in known.items() if value is not None})
                self._pass(body)

            def _pass(self, body):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                with contextlib.closing(connection):
                    try:
                        connection.request(self.command, self.path, body, {"Content-Type": "application/json"})
                        reply = connection.getresponse()
                        data = reply.read()
                    except (OSError, http.client.HTTPException):  # the server is gone, and so is this connection
                        self.close_connection = True
                        return
                with contextlib.suppress(OSError):  # nobody waits for the reply
                    self.send_response(reply.status)
                    self.send_header("Content-Type", reply.headers["Content-Type"] or "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def router(kind, programs, urls, log):
    """Start a router in front of servers: `programs` has the folder of its program."""
    port = free_port()
    if kind == "nginx":
        return _nginx(programs, urls, port, log)
    address = ["--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port())]
    checks = ["--health-check-interval-secs", "2", "--health-failure-threshold", "1", "--health-success-threshold", "1"]
    command = {
        "vllm-router": [programs / "vllm-router", "--policy", "power_of_two"],
        "sglang-router": [programs / "sglang-router", "launch", "--policy", "power_of_two"],
    }[kind]
    started = [*map(str, command), *address, *checks, "--retry-max-retries", "3", "--worker-urls", *urls]
    return ServedProcess(started, port, log)


def _nginx(programs, urls, port, log):
    """Start nginx; bodies stay in memory, since its user need not be able to write to a folder of this one."""
    folder = log.parent / "nginx"
    folder.mkdir(exist_ok=True)
    servers = "\n".join(f"server {url.removeprefix('http://')} max_fails=1 fail_timeout=10s;" for url in urls)
    (folder / "nginx.conf").write_text(
        f"""daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  client_max_body_size 64m; client_body_buffer_size 64m; proxy_read_timeout 60s;
  upstream fleet {{ least_conn; {servers} }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://fleet;
      proxy_next_upstream error timeout http_502 http_503 http_504 non_idempotent;
    }}
  }}
}}
"""
    )
    return ServedProcess([str(programs / "nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")], port, log)
