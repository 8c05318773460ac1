"""Servers on the loopback interface: one with a single fault, and a chat server with chosen abilities."""

import base64
import contextlib
import gzip
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


BOMB = gzip.compress(b" " * (16 << 20), 9)
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
    "503 with a wait": [http(b"loading", "503 Service Unavailable", "Retry-After: 1\r\n")],
    "absurd wait": [http(b"{}", "429 Too Many Requests", "Retry-After: 99999999999999999999\r\n")],
    "error in 200": [http(b'{"error": {"message": "out of memory, key hush-hush"}}')],
    "top_logprobs is a number": [
        http(completion("A", logprobs={"content": [{"token": "A", "logprob": -0.1, "top_logprobs": 5}]}))
    ],
    "above 0": [http(completion("A", logprobs={"content": [{"token": "A", "logprob": 7.5, "top_logprobs": []}]}))],
    "lone surrogate": [http(b'{"choices": [{"message": {"content": "\\ud800"}}]}')],
    "no UTF-8": [http(b'{"choices": [{"message": {"content": "\xff\xfe"}}]}')],
    "huge number": [http(b'{"choices": [{"message": {"content": "A"}}], "usage": ' + b"9" * 100_000 + b"}")],
    "event stream": [http(b'data: {"choices": []}\n\n', "200 OK", "X-Accel-Buffering: no\r\n")],
    "gzip bomb": [http(BOMB, extra="Content-Encoding: gzip\r\n")],
    "unknown compression": [http(b"\x1b\x2f", extra="Content-Encoding: br\r\n")],
    "endless thoughts": [http(completion("<think>" * 100_000))],
    "null content": [
        http(json.dumps({"choices": [{"message": {"content": None}, "finish_reason": "length"}]}).encode())
    ],
    "refusal": [http(json.dumps({"choices": [{"message": {"content": None, "refusal": "no"}}]}).encode())],
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


THOUGHTS = "The image shows edges. Option A might fit, or B. "
THINKING_TOKENS = 200


class ChatServer:
    """A chat server that recognizes a circle and a triangle, and answers everything else with the first option.

    Args:
        abilities: any of `logprobs`, `tokenize`, `choice`, `json`, `sentence` (it answers in a sentence), `blind` (it
            drops images), `weak` (it does not recognize shapes), `uncounted` (it reports no usage) and `strict` (it
            answers 422 to what it does not support; without it, such fields are ignored). Of newer servers:
            `completion_tokens` (it refuses `max_tokens`), `no_temperature` (it refuses `temperature`), `strict_fields`
            (it refuses switches of thinking), `chunks` (its content is a list), `empty_think` (an empty thought comes
            first), `gibberish` (nobody understands it). It thinks before it answers with `think` (between tags),
            `open_think` (only the closing tag is written), `reasoning` (in a field of its own; the content is null
            until the answer) or `hidden` (nowhere); with `switch`, `chat_template_kwargs` switches that off.
        fail: answers to give first, as tuples of status, headers and body.
        model: what it says of its model, in each reply and in its list of models; None for nothing.
        per_second: requests that it accepts in each second; it answers 429 to the others.
        retry_after: the value of that header of a 429.
        seconds: how long it takes to think.
    """

    def __init__(self, *abilities, fail=(), model=None, per_second=math.inf, retry_after=None, seconds=0.0):
        self.seconds = seconds
        self.abilities, self.fail, self.model = set(abilities), list(fail), model
        self.per_second, self.retry_after = per_second, retry_after
        self.requests, self.headers, self.accepted, self.lock = [], [], [], threading.Lock()

    def __enter__(self):
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each body waits 40 ms for the receipt of its head

            def do_GET(self):
                listed = {"data": [{"id": owner.model, "object": "model"}]}
                self.send(*((404, {}, b"{}") if owner.model is None else (200, {}, json.dumps(listed).encode())))

            def do_POST(self):
                payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.headers.append(dict(self.headers))
                self.send(*owner.answer(self.path, payload))

            def send(self, status, extra, body):
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
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
        if not self.admits():
            headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
            return 429, headers, b'{"error": "too many requests"}'
        if refusal := self.refusal(payload):
            return 400, {}, json.dumps({"error": {"message": refusal}}).encode()
        needed = {"logprobs": "logprobs", "structured_outputs": "choice", "response_format": "json"}
        if "strict" in self.abilities:
            for key, ability in needed.items():
                if key in payload and ability not in self.abilities:
                    return 422, {}, b'{"error": "unknown field"}'
        return 200, {}, self.reply(payload)

    def admits(self):
        with self.lock:
            now = time.monotonic()
            self.accepted = [moment for moment in self.accepted if moment > now - 1]
            if len(self.accepted) >= self.per_second:
                return False
            self.accepted.append(now)
            return True

    def refusal(self, payload):
        if "completion_tokens" in self.abilities and "max_tokens" in payload:
            return "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        if "strict_fields" in self.abilities and {"chat_template_kwargs", "reasoning_effort"} & payload.keys():
            return "Unrecognized request argument supplied"
        if "no_temperature" in self.abilities and "temperature" in payload:
            return "Unsupported value: 'temperature' does not support 0 with this model."
        return None

    def message(self, answer, payload):
        """The message and the reason of its end, for a model that may think before it answers."""
        ways = {"think", "open_think", "reasoning", "hidden"} & self.abilities
        off = "switch" in self.abilities and payload.get("chat_template_kwargs") == {"enable_thinking": False}
        empty = "<think>\n\n</think>\n\n" if "empty_think" in self.abilities else ""
        if not ways or off:
            content = empty + answer
            return {"content": [{"type": "text", "text": content}] if "chunks" in self.abilities else content}, "stop"
        (way,) = ways
        fits = payload.get("max_tokens", payload.get("max_completion_tokens", math.inf)) > THINKING_TOKENS
        end = "stop" if fits else "length"
        time.sleep(self.seconds if fits else 0.0)
        if way == "reasoning":
            return {"content": answer if fits else None, "reasoning_content": THOUGHTS}, end
        if way == "hidden":
            return {"content": answer if fits else ""}, end
        thought = ("" if way == "open_think" else "<think>") + THOUGHTS
        return {"content": f"{thought}</think>\n\n{answer}" if fits else thought}, end

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
        if "gibberish" in self.abilities:
            content = "Lorem ipsum dolor sit amet."
        count = len(text) // 4 + (0 if "blind" in self.abilities else 64 * len(images))
        usage = {} if "uncounted" in self.abilities else {"usage": {"prompt_tokens": count}}
        message, end = self.message(content, payload)
        says = {} if self.model is None else {"model": self.model}
        choice = {"message": message, "finish_reason": end, **logprobs}
        return json.dumps({"choices": [choice], **usage, **says}).encode()

    def best_option(self, options, images):
        names = {name: letter for letter, name in options}
        if not options:
            return "yes"
        if {"circle", "triangle"} <= names.keys() and images and not {"blind", "weak"} & self.abilities:
            data = base64.b64decode(images[0].partition(",")[2])
            dark = np.asarray(Image.open(io.BytesIO(data)).convert("L").resize((56, 56))) < 128
            widths = dark.sum(axis=1)
            rows = np.flatnonzero(widths > 2)
            if not len(rows):
                return options[0][0]
            return names["circle" if widths[rows[-1] - 1] < 0.6 * widths.max() else "triangle"]
        return options[0][0]
