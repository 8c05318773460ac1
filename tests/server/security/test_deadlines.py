"""Slow, greedy and rude clients are cut with a problem; good ones are answered meanwhile."""

import hashlib
import inspect
import socket

import pytest

pytest.importorskip("uvicorn", reason="the extra `server` is not installed")

import uvicorn
from uvicorn.protocols.http import flow_control, httptools_impl

from tests.helpers.encoders import ColorEncoder
from tests.helpers.live_server import LiveServer, is_closed, read_reply, request
from tests.server.conftest import settings_on

PNG = {"content_type": "image/png"}
SHORT = {"header_seconds": 0.2, "body_seconds": 0.2, "keep_alive_seconds": 0.2, "write_seconds": 0.5}


@pytest.fixture
def server(open_server, config):
    """A server with short deadlines."""
    for name, value in SHORT.items():
        setattr(config.server, name, value)
    return open_server(config)


@pytest.fixture(scope="module")
def patient(made_index):
    """A server with the deadlines of the defaults, so that nothing is cut by time in a test of sizes."""
    with LiveServer(settings_on(made_index), ColorEncoder()) as started:
        yield started


def problem(reply):
    assert reply is not None, "the connection ended without an answer"
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    return reply.status, reply.json["type"].rpartition("/")[2]


def test_uvicorn_is_the_one_that_this_was_written_for():
    """`DeadlineProtocol` extends a class that may change: read its source again, then store the new digest here."""
    digest = hashlib.sha256(f"{inspect.getsource(httptools_impl)}{inspect.getsource(flow_control)}".encode())
    known = {"0.54.0": "ea814cf42e50628dba76b72e12900943da6801b4bcf097f11dff4ea2cdc99455"}
    assert known.get(uvicorn.__version__) == digest.hexdigest(), (
        f"uvicorn {uvicorn.__version__} is new here: compare its protocols/http/httptools_impl.py with "
        f"server/deadlines.py, then store the digest {digest.hexdigest()} in this test"
    )


@pytest.mark.parametrize("sent", [b"", b"POST /v1/cl", b"\r\n", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: "])
def test_headers_that_do_not_end_are_cut(server, sent):
    """With 408, and the connection is closed."""
    with server.connect() as connection:
        connection.sendall(sent)
        assert problem(read_reply(connection)) == (408, "slow-client")
        assert is_closed(connection)


@pytest.mark.parametrize("headers", [{"content_length": "1000"}, {"transfer_encoding": "chunked"}])
def test_a_body_that_does_not_end_is_cut(server, headers):
    """A declared one, and one in chunks without end."""
    if "transfer_encoding" in headers:
        sent = (
            request("POST", "/v1/classify", **PNG, **headers).replace(b"content-length: 0\r\n", b"") + b"5\r\nhello\r\n"
        )
    else:
        sent = request("POST", "/v1/classify", **PNG, **headers) + b"hello"
    with server.connect() as connection:
        connection.sendall(sent)
        assert problem(read_reply(connection)) == (408, "slow-client")
        assert is_closed(connection)
    server.wait_until(lambda: server.state.held.count == 0)


def test_slow_clients_do_not_hold_good_ones(server, images):
    """While 50 clients send nothing and 50 send half of a body, an image is answered."""
    slow = [server.connect() for _ in range(100)]
    for number, connection in enumerate(slow):
        connection.sendall(request("POST", "/v1/classify", content_length="1000", **PNG) + b"x" if number % 2 else b"G")
    assert server.ask(request("POST", "/v1/classify", images[0], **PNG)).status == 200
    assert {read_reply(connection).status for connection in slow} == {408}
    for connection in slow:
        connection.close()
    server.wait_until(lambda: server.connections == 0)


def test_an_idle_connection_is_closed(server):
    """Without an answer to nothing."""
    with server.connect() as connection:
        connection.sendall(request("GET", "/healthz"))
        assert read_reply(connection).status == 200
        assert read_reply(connection) is None


def test_a_client_that_does_not_read_is_cut(server):
    """The connection is closed, and the answers are forgotten."""
    server.shrink_buffers()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(request("GET", "/openapi.json") * 12)
        server.wait_until(lambda: server.connections == 1)
        server.wait_until(lambda: server.connections == 0)


def test_large_headers_are_431(patient):
    """One long header, many headers, a long address, and one that never ends."""
    for sent in (
        request("GET", "/healthz", x="y" * 20_000),
        request("GET", "/healthz", **{f"x{number}": "y" * 100 for number in range(300)}),
        request("GET", "/healthz?" + "q" * 20_000),
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 600_000,
    ):
        with patient.connect() as connection:
            connection.sendall(sent)
            assert problem(read_reply(connection)) == (431, "headers-too-large")


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_400(patient, sent):
    """With a problem, not with plain text."""
    with patient.connect() as connection:
        connection.sendall(sent)
        assert read_reply(connection).status in (400, 415)
        assert is_closed(connection)


def test_requests_sent_ahead_are_answered_in_order(patient, images):
    """Pipelining; more than 16 ahead end the connection."""
    with patient.connect() as connection:
        connection.sendall(request("POST", "/v1/classify", images[0], **PNG) + request("GET", "/healthz"))
        data = b""
        while b'"status": "ok"' not in data and b'"status":"ok"' not in data:
            data += connection.recv(65536)
        assert data.count(b"HTTP/1.1 200") == 2
        assert data.index(b'"content_hash"') < data.index(b'"status"')
    with patient.connect() as connection:
        connection.sendall(request("GET", "/healthz") * 2000)
        assert is_closed(connection)
    patient.wait_until(lambda: patient.connections == 0)


def test_a_client_that_goes_away_leaves_nothing(patient, images):
    """In the headers, in the body, and while it waits."""
    whole = request("POST", "/v1/classify", images[0], **PNG)
    for length in (10, len(whole) - 20, len(whole)):
        for _ in range(20):
            with patient.connect() as connection:
                connection.sendall(whole[:length])
    patient.wait_until(lambda: patient.connections == 0)
    patient.wait_until(lambda: patient.state.queue.statistics.waiting == 0)
    patient.wait_until(lambda: patient.state.held.count == 0)  # the bytes are let go of when the end is told
    assert patient.ask(whole).status == 200


def test_a_client_that_goes_away_cancels_its_image(open_server, config, encoder, images):
    """The encoder does not work for nobody."""
    server = open_server(config, encoder)
    encoder.gate.clear()
    with server.connect() as connection:
        connection.sendall(request("POST", "/v1/classify", images[0], **PNG))
        server.wait_until(lambda: server.state.queue.statistics.waiting == 1)
    server.wait_until(lambda: server.state.queue.statistics.ended.get("cancelled") == 1)
    encoder.gate.set()


def test_expected_bodies_are_asked_for(patient, images):
    """`Expect: 100-continue`: a body that is too large is refused before it is sent."""
    with patient.connect() as connection:
        connection.sendall(
            request("POST", "/v1/classify", expect="100-continue", content_length=str(len(images[0])), **PNG)
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(images[0])
        assert read_reply(connection).status == 200
    with patient.connect() as connection:
        connection.sendall(request("POST", "/v1/classify", expect="100-continue", content_length="99999999", **PNG))
        assert problem(read_reply(connection)) == (413, "body-too-large")
        assert is_closed(connection)


def test_upgrades_are_passed_over(patient):
    """No other protocol is offered."""
    reply = patient.ask(request("GET", "/healthz", connection="upgrade", upgrade="websocket"))
    assert reply.status == 200


def test_answers_are_sent_at_once(patient):
    """The system does not hold the second part of an answer back until the client acknowledges the first."""
    with patient.connect() as connection:
        connection.sendall(request("GET", "/healthz"))
        assert read_reply(connection).status == 200
        options = patient.socket_options(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert options
        assert 0 not in options


def test_one_connection_too_many_is_told_so(open_server, config):
    """With 503; the ones before go on."""
    config.server.connections = 2
    server = open_server(config)
    with server.connect() as first, server.connect() as second:
        server.wait_until(lambda: server.connections == 2)
        assert problem(server.ask(request("GET", "/healthz"))) == (503, "too-many-connections")
        first.sendall(request("GET", "/metrics"))
        assert b'lmm_refused_total{why="too-many-connections"} 1.0' in read_reply(first).body
        for connection in (first, second):
            connection.sendall(request("GET", "/healthz"))
            assert read_reply(connection).status == 200


@pytest.mark.long
def test_ten_thousand_connections_leave_nothing(open_server, config, images):
    """As many as the system lets a process open; afterwards an image is answered."""
    config.server.connections = 50
    server = open_server(config)
    for _ in range(20):
        connections = [server.connect() for _ in range(500)]
        for connection in connections:
            connection.close()
    # the system may still hand over some of them: they are closed already, and count until that is noticed
    server.wait_until(lambda: server.ask(request("POST", "/v1/classify", images[0], **PNG)).status == 200)
    server.wait_until(lambda: server.connections == 0)
