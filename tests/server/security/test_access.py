"""Hosts, origins, tokens and scopes: who is let in, and who is not."""

import pytest

pytest.importorskip("starlette", reason="the extra `server` is not installed")

from starlette.datastructures import Headers

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.server.config import ServerConfig
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.security.access import COOKIE, Access, is_loopback, session_of

TEACH, READ = "t" * 32, "r" * 32
TOKENS = {TEACH: "teach", READ: "read"}
LOCAL = Access.of(ServerConfig(), {})


def refused(check, *arguments):
    """Return the name of the problem that a check raises, None where it raises none."""
    try:
        check(*arguments)
    except ProblemError as problem:
        return problem.slug
    return None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_a_public_address_without_a_token_is_refused(host):
    """The message says what to set, and where."""
    with pytest.raises(ConfigError, match="LMM_CLASSIFIER_TOKEN"):
        Access.of(ServerConfig(host=host), {})
    assert Access.of(ServerConfig(host=host), {"LMM_CLASSIFIER_TOKEN": TEACH}).tokens == {TEACH: "teach"}


@pytest.mark.parametrize("token", ["short", "x" * 15, "x" * 20 + " ", "ü" * 20, "x" * 20 + "\n"])
def test_a_poor_token_is_refused(token):
    """Also where none would be needed."""
    with pytest.raises(ConfigError, match="LMM_CLASSIFIER_TOKEN") as error:
        Access.of(ServerConfig(), {"LMM_CLASSIFIER_TOKEN": token})
    assert token not in str(error.value)


def test_one_token_for_both_is_refused():
    """Whoever may only read could change the index."""
    with pytest.raises(ConfigError, match="the same token"):
        Access.of(ServerConfig(), {"LMM_CLASSIFIER_TOKEN": TEACH, "LMM_CLASSIFIER_READ_TOKEN": TEACH})


def test_loopback_addresses():
    """All of 127.0.0.0/8, and the one of IPv6."""
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "localhost.example.org", "1"]))


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost:8321", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8321", "localhost."],
)
def test_names_of_this_machine(host):
    """Of any port."""
    assert refused(LOCAL.check_host, Headers({"host": host})) is None


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "localhost@example.org",
        "example.org:80@localhost",
        "localhost/x",
        "localhost:x",
        "localhost:99999",
        "",
        " localhost",
        "[::1",
        "::1",
        "localhost,example.org",
        "0x7f.1",
        "²",
    ],
)
def test_other_names(host):
    """Those of a page that rebinds its name, and what is no name at all."""
    assert refused(LOCAL.check_host, Headers(raw=[(b"host", host.encode())])) in ("forbidden-host", "malformed-request")


def test_one_host_is_expected():
    """None, and two."""
    assert refused(LOCAL.check_host, Headers({})) == "malformed-request"
    two = Headers(raw=[(b"host", b"localhost"), (b"host", b"localhost")])
    assert refused(LOCAL.check_host, two) == "malformed-request"


def test_allowed_hosts():
    """They are added to those of this machine; with a public address they are all."""
    config = ServerConfig(allowed_hosts=["Images.example.org"])
    assert refused(Access.of(config, {}).check_host, Headers({"host": "images.example.org:443"})) is None
    config.host = "0.0.0.0"
    public = Access.of(config, {"LMM_CLASSIFIER_TOKEN": TEACH})
    assert refused(public.check_host, Headers({"host": "images.example.org"})) is None
    assert refused(public.check_host, Headers({"host": "localhost"})) == "forbidden-host"
    config.allowed_hosts = []
    assert refused(Access.of(config, {"LMM_CLASSIFIER_TOKEN": TEACH}).check_host, Headers({"host": "any"})) is None


@pytest.mark.parametrize(
    ("method", "headers", "slug"),
    [
        ("POST", {}, None),
        ("POST", {"sec-fetch-site": "same-origin", "origin": "http://localhost:8321"}, None),
        ("POST", {"sec-fetch-site": "none"}, None),
        ("POST", {"sec-fetch-site": "cross-site"}, "forbidden-origin"),
        ("POST", {"sec-fetch-site": "same-site"}, "forbidden-origin"),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, "forbidden-origin"),
        ("POST", {"sec-fetch-site": "odd"}, "forbidden-origin"),
        ("POST", {"origin": "http://example.org"}, "forbidden-origin"),
        ("POST", {"origin": "http://localhost:9999"}, "forbidden-origin"),
        ("POST", {"origin": "null"}, "forbidden-origin"),
        ("POST", {"origin": "http://localhost:8321.example.org"}, "forbidden-origin"),
        ("POST", {"origin": "file://"}, "forbidden-origin"),
        ("DELETE", {"origin": "http://example.org"}, "forbidden-origin"),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, None),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, "forbidden-origin"),
        ("GET", {"sec-fetch-site": "same-origin"}, None),
    ],
)
def test_pages_of_other_sites(method, headers, slug):
    """They may link here, and nothing else."""
    assert refused(LOCAL.check_origin, method, Headers({"host": "localhost:8321", **headers})) == slug


def test_a_proxy_may_end_tls():
    """Then the origin is https, and the port its default."""
    headers = Headers({"host": "images.example.org", "origin": "https://images.example.org"})
    assert refused(LOCAL.check_origin, "POST", headers) is None


@pytest.mark.parametrize(
    ("method", "path", "token", "slug"),
    [
        ("GET", "/v1/index", None, "unauthorized"),
        ("GET", "/v1/index", "wrong" * 8, "unauthorized"),
        ("GET", "/v1/index", READ, None),
        ("GET", "/metrics", None, "unauthorized"),
        ("GET", "/docs", None, "unauthorized"),
        ("POST", "/v1/classify", READ, None),
        ("POST", "/v1/examples", READ, "forbidden-scope"),
        ("DELETE", "/v1/examples", READ, "forbidden-scope"),
        ("POST", "/v1/classify/", READ, "forbidden-scope"),
        ("POST", "/v1/embed", READ, None),
        ("POST", "/v2/models/index/infer", READ, None),
        ("POST", "/v2/models/index/infer", None, "unauthorized"),
        ("GET", "/v1/map", None, "unauthorized"),
        ("POST", "/v1/examples", TEACH, None),
        ("GET", "/problems/queue-full", None, None),
        ("POST", "/v1/session", None, None),
    ],
)
def test_tokens(method, path, token, slug):
    """Reading and teaching; a token in a header or behind a cookie."""
    access = Access(TOKENS, None)
    bearer = Headers({} if token is None else {"authorization": f"Bearer {token}"})
    assert refused(access.check_token, method, path, bearer) == slug
    cookie = Headers({} if token is None else {"cookie": f"a=b; {COOKIE}={session_of(token).decode()}"})
    assert refused(access.check_token, method, path, cookie) == slug


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": TEACH},
        {"authorization": f"Basic {TEACH}"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer ü"},
        {"cookie": f"{COOKIE}={TEACH}"},
        {"cookie": f"{COOKIE}="},
        {"cookie": ";;=;é"},
    ],
)
def test_what_is_no_token(headers):
    """Nobody is let in by an error."""
    raw = Headers(raw=[(name.encode(), value.encode("latin-1")) for name, value in headers.items()])
    assert refused(Access(TOKENS, None).check_token, "GET", "/v1/index", raw) == "unauthorized"


def test_requests_are_checked_before_anything_else(open_client, config):
    """Over HTTP: a wrong host, another origin, no token; the probes are answered to everybody."""
    client = open_client(config, tokens=TOKENS)
    allowed = {"authorization": f"Bearer {READ}"}
    assert (
        client.get("/v1/labels", headers={**allowed, "host": "example.org"}).json()["type"].endswith("forbidden-host")
    )
    reply = client.post("/v1/classify", content=b"x", headers={**allowed, "origin": "http://example.org"})
    assert reply.json()["type"] == "/problems/forbidden-origin"
    reply = client.get("/v1/labels")
    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert client.get("/v1/labels", headers=allowed).status_code == 200
    assert client.get("/healthz", headers={"host": "10.0.0.7:8321"}).status_code == 200
    assert "access-control-allow-origin" not in client.options("/v1/labels", headers=allowed).headers


def test_pages_without_a_token_say_nothing_of_the_index(open_client, config):
    """Also not how many examples it has."""
    client = open_client(config, tokens=TOKENS)
    public = [client.get(address) for address in ("/problems/queue-full", "/login")]
    assert [(reply.status_code, "examples</" in reply.text) for reply in public] == [(200, False)] * 2
    known = client.get("/problems/queue-full", headers={"authorization": f"Bearer {READ}"})
    assert "examples" in known.text
