"""Bodies are bounded while they arrive, and leave nothing behind."""

import asyncio

import pytest

pytest.importorskip("fastapi", reason="the extra `server` is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from lmm_classifier.core.errors import QueueFullError
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.uploads import FormParts, HeldBytes, Part, Upload, boundary_of
from tests.helpers.live_server import is_closed, read_reply, request

PNG = {"content_type": "image/png"}


def body_of(chunks, headers=()):
    """Return a request whose body comes in pieces."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return messages.pop(0)

    return Request({"type": "http", "method": "POST", "headers": list(headers)}, receive)


def form(*parts, boundary=b"XX", end=b"--\r\n"):
    """Return the bytes of a form; a part is (headers, data)."""
    lines = b"".join(b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts)
    return lines + b"--" + boundary + end


def named(name, data, file=b"x.png"):
    extra = b"" if file is None else b'; filename="' + file + b'"'
    return b'Content-Disposition: form-data; name="' + name + b'"' + extra, data


async def parts_of(chunks, held=None, max_part=1000, max_parts=4, limit=10_000):
    upload = Upload(body_of(chunks), held or HeldBytes(100_000), limit)
    async with upload.opened():
        return [part async for part in FormParts(upload, b"XX", max_part, max_parts)]


def refused(chunks, **limits):
    held = HeldBytes(100_000)
    with pytest.raises(ProblemError) as problem:
        asyncio.run(parts_of(chunks, held, **limits))
    assert held.count == 0
    return problem.value.slug


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([b"image", b"label"]), st.binary(max_size=300)), min_size=1, max_size=4),
    st.integers(1, 50),
)
def test_parts_do_not_depend_on_the_pieces(parts, size):
    """Cut anywhere, also inside of a boundary."""
    parts = [(name, data) for name, data in parts if b"--XX" not in data]
    data = form(*(named(name, data) for name, data in parts))
    found = asyncio.run(parts_of([data[start : start + size] for start in range(0, len(data), size)]))
    assert found == [Part(name.decode(), data, True, "x.png") for name, data in parts]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=5))
def test_anything_else_is_a_problem(chunks):
    """Whatever bytes come, no other error does."""
    try:
        asyncio.run(parts_of(chunks))
    except ProblemError as problem:
        assert problem.slug in ("malformed-request", "body-too-large")


def test_limits_of_a_form():
    """Its size, the number of its parts, the size of a part, and that of a field."""
    small = named(b"image", b"x")
    assert refused([form(*[small] * 5)]) == "body-too-large"
    assert refused([form(named(b"image", b"x" * 1001))]) == "body-too-large"
    assert refused([form(named(b"label", b"x" * 9000, None))], max_part=20_000, limit=100_000) == "body-too-large"
    assert refused([b"x" * 600] * 20) in ("body-too-large", "malformed-request")
    assert refused([form(small)[:-6]]) == "malformed-request"
    assert refused([form(small, boundary=b"YY")]) == "malformed-request"
    assert refused([b"--XX\r\n" + b"a: b\r\n" * 50]) == "malformed-request"
    assert refused([b"--XX\r\nx: " + b"y" * 9000]) == "malformed-request"


def test_a_form_names_its_boundary():
    """A type that is no form has none."""
    assert boundary_of('multipart/form-data; boundary="a b"') == b"a b"
    assert boundary_of("image/png") is None
    assert boundary_of("") is None
    with pytest.raises(ProblemError):
        boundary_of("multipart/form-data")
    with pytest.raises(ProblemError):
        FormParts(Upload(body_of([]), HeldBytes(1), 1), b"x" * 300, 1, 1)


def test_bytes_of_all_requests_are_bounded():
    """One more is refused, unless it is alone; at the end none is counted."""
    held = HeldBytes(100)

    async def two():
        first, second = (Upload(body_of([b"x" * 80]), held, 1000) for _ in range(2))
        async with first.opened():
            await first.whole()
            with pytest.raises(QueueFullError):
                async with second.opened():
                    await second.whole()
            assert held.count == 80

    asyncio.run(two())
    assert held.count == 0


def test_a_body_in_pieces_is_let_in_alone():
    """Whatever its size, and with what is made of it."""
    held = HeldBytes(100)

    async def alone():
        upload = Upload(body_of([b"x" * 80, b"x" * 80]), held, 1000)
        async with upload.opened():
            assert len(await upload.whole()) == 160
            upload.holds(500)
            assert held.count == 660

    asyncio.run(alone())
    assert held.count == 0


def test_a_large_body_is_413(open_server, config, images):
    """By its header before it is read, and while it is read where it has none."""
    config.server.max_body = 1000
    server = open_server(config)
    reply = server.ask(request("POST", "/v1/classify", b"x" * 1001, **PNG))
    assert (reply.status, reply.headers["connection"]) == (413, "close")
    chunks = request("POST", "/v1/classify", transfer_encoding="chunked", **PNG).replace(b"content-length: 0\r\n", b"")
    with server.connect() as connection:
        connection.sendall(chunks + b"1f4\r\n" + b"x" * 500 + b"\r\n")
        connection.sendall(b"1f4\r\n" + b"x" * 500 + b"\r\n5\r\n")
        connection.sendall(b"xxxxx\r\n")
        assert read_reply(connection).status == 413
        assert is_closed(connection)
    chunked = chunks + b"%x\r\n" % len(images[0]) + images[0] + b"\r\n0\r\n\r\n"
    assert server.ask(chunked).status == 200
    assert server.state.held.count == 0
