"""Servers on the loopback interface: one with a single fault, and a chat server with chosen abilities."""

import base64
import contextlib
import io
import json
import math
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

STALL_SECONDS = 30.0  # that a faulty connection is held open; far longer than the deadlines of the tests


def http(body, status="200 OK", extra="", length=None):
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length or len(body)}\r\n{extra}\r\n"
    )
    return head.encode() + body


def completion(text, **more):
    return json.dumps({"choices": [{"message": {"content": text}, **more}], "usage": {"prompt_tokens": 9}}).encode()


NAN = {"logprobs": {"content": [{"token": "A", "logprob": math.nan, "top_logprobs": []}]}}
FAULTS = {
    "refused": None,
    "silent": [],
    "slow header": [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 1000],
    "slow body": [http(b"", length=5000), *[b" "] * 1000],
    "half open": [http(b'{"choices": [', length=5000), "hold"],
    "reset": [http(b'{"choices": [', length=5000), "reset"],
    "cut off": [http(b'{"choices": [', length=5000)],
    "garbage": [bytes(range(256)) * 8],
    "no JSON": [http(b"<html>It works!</html>")],
    "another shape": [http(b'{"choices": {"message": 7}}')],
    "no choices": [http(b'{"choices": []}')],
    "deep JSON": [http(b"[" * 100_000)],
    "429": [http(b"{}", "429 Too Many Requests", "Retry-After: 3600\r\n")],
    "500": [http(b"sorry", "500 Internal Server Error")],
    "503": [http(b"loading", "503 Service Unavailable")],
    "401": [http(b"your key hush-hush is wrong", "401 Unauthorized")],
    "redirect": [http(b"", "302 Found", "Location: http://192.0.2.1/\r\n")],
    "endless": [http(b"", length=1 << 40), *[b" " * (1 << 20)] * 64],
    "nonsense": [http(completion("As a language model I would rather talk about Z."))],
    "not a number": [http(completion("A", **NAN))],
}
SLOW = {"slow header", "slow body"}


class FaultServer:
    """Answers every connection with one of FAULTS; as a context manager it returns the base URL."""

    def __init__(self, fault):
        self.fault = fault
        self.connections = 0

    def __enter__(self):
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._over = threading.Event()
        if FAULTS[self.fault] is None:
            self._socket.close()
        else:
            threading.Thread(target=self._accept, daemon=True).start()
        return url

    def __exit__(self, *_):
        self._over.set()
        self._socket.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection:
            connection.recv(1 << 16)
            for part in FAULTS[self.fault]:
                if part == "reset":
                    time.sleep(0.02)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                if part == "hold":
                    self._over.wait(STALL_SECONDS)
                    return
                connection.sendall(part)
                if self.fault in SLOW:
                    self._over.wait(0.05)
            if self.fault == "silent":
                self._over.wait(STALL_SECONDS)
            else:
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass


class ChatServer:
    """A chat server that recognizes a circle and a triangle, and answers everything else with the first option.

    Args:
        abilities: any of `logprobs`, `tokenize`, `choice`, `json`, `sentence` (it answers in a sentence), `blind` (it
            drops images), `weak` (it does not recognize shapes), `uncounted` (it reports no usage) and `strict` (it
            answers 422 to what it does not support; without it, such fields are ignored).
        fail: answers to give first, as tuples of status, headers and body.
    """

    def __init__(self, *abilities, fail=()):
        self.abilities, self.fail = set(abilities), list(fail)
        self.requests, self.headers = [], []

    def __enter__(self):
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.headers.append(dict(self.headers))
                status, extra, body = owner.answer(self.path, payload)
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path, payload):
        if path.endswith("/tokenize"):
            if "tokenize" not in self.abilities:
                return 404, {}, b"{}"
            return 200, {}, json.dumps({"tokens": [ord(payload["prompt"])]}).encode()
        self.requests.append(payload)
        if self.fail:
            return self.fail.pop(0)
        needed = {"logprobs": "logprobs", "structured_outputs": "choice", "response_format": "json"}
        if "strict" in self.abilities:
            for key, ability in needed.items():
                if key in payload and ability not in self.abilities:
                    return 422, {}, b'{"error": "unknown field"}'
        return 200, {}, self.reply(payload)

    def reply(self, payload):
        parts = payload["messages"][0]["content"]
        text = "".join(part.get("text", "") for part in parts)
        images = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        options = [line.split(". ", 1) for line in text.splitlines() if line[1:3] == ". "]
        best = self.best_option(options, images)
        logprobs, content = {}, best
        if "logprobs" in self.abilities and payload.get("logprobs"):
            tokens = payload.get("logprob_token_ids") if "tokenize" in self.abilities else None
            letters = [chr(token) for token in tokens] if tokens else [letter for letter, _ in options][:3]
            listed = [{"token": letter, "logprob": -0.2 if letter == best else -3.0} for letter in letters]
            logprobs = {"logprobs": {"content": [{"token": best, "logprob": -0.2, "top_logprobs": listed}]}}
        elif "choice" in self.abilities and "structured_outputs" in payload:
            choice = payload["structured_outputs"]["choice"]
            content = best if best in choice else choice[0]
        elif "json" in self.abilities and "response_format" in payload:
            choice = payload["response_format"]["json_schema"]["schema"]["properties"]["answer"]["enum"]
            content = json.dumps({"answer": best if best in choice else choice[0]})
        elif "sentence" in self.abilities:
            content = f"The answer is {best}." if payload["max_tokens"] > 1 else "The"
        count = len(text) // 4 + (0 if "blind" in self.abilities else 64 * len(images))
        usage = {} if "uncounted" in self.abilities else {"usage": {"prompt_tokens": count}}
        return json.dumps({"choices": [{"message": {"content": content}, **logprobs}], **usage}).encode()

    def best_option(self, options, images):
        names = {name: letter for letter, name in options}
        if not options:
            return "yes"
        if {"circle", "triangle"} <= names.keys() and images and not {"blind", "weak"} & self.abilities:
            data = base64.b64decode(images[0].partition(",")[2])
            dark = np.asarray(Image.open(io.BytesIO(data)).convert("L").resize((56, 56))) < 128
            widths = dark.sum(axis=1)
            rows = np.flatnonzero(widths > 2)
            return names["circle" if widths[rows[-1] - 1] < 0.6 * widths.max() else "triangle"]
        return options[0][0]
