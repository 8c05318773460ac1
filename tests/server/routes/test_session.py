"""A page exchanges a token for a cookie."""

from lmm_classifier.server.security.access import COOKIE

TOKENS = {"t" * 32: "teach", "r" * 32: "read"}


def test_a_token_becomes_a_cookie(open_client, config):
    """Scripts cannot read it, other sites cannot send it, and it does not hold the token."""
    client = open_client(config, tokens=TOKENS)
    assert client.get("/v1/labels").status_code == 401
    reply = client.post("/v1/session", json={"token": "r" * 32}, headers={"origin": "http://localhost"})
    assert reply.json() == {"permission": "read"}
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    assert "r" * 32 not in cookie
    assert client.get("/v1/labels").status_code == 200
    assert client.patch("/v1/examples").json()["type"] == "/problems/forbidden-scope"
    assert client.delete("/v1/session").status_code == 204
    assert client.get("/v1/labels").status_code == 401


def test_a_wrong_token_becomes_none(open_client, config):
    """And neither does what is no token."""
    client = open_client(config, tokens=TOKENS)
    for body, status in (
        ({"token": "x" * 32}, 401),
        ({"token": 7}, 400),
        ({"token": ""}, 400),
        ({}, 400),
        ([], 400),
        ({"token": "r" * 32, "other": 1}, 400),
    ):
        reply = client.post("/v1/session", json=body)
        assert reply.status_code == status
        assert COOKIE not in client.cookies
    assert client.post("/v1/session", content=b"{", headers={"content-type": "application/json"}).status_code == 400
    assert client.post("/v1/session", data={"token": "r" * 32}).status_code == 415


def test_behind_tls_the_cookie_is_secure(open_client, config):
    """The origin of the page says so."""
    client = open_client(config, tokens=TOKENS)
    reply = client.post("/v1/session", json={"token": "t" * 32}, headers={"origin": "https://localhost"})
    assert "; secure" in reply.headers["set-cookie"].lower()
