"""The page for the token leads back to the page that was asked for, and nowhere else."""

PAGE = {"accept": "text/html"}


def test_a_visit_without_a_token_asks_for_it(open_client, config):
    """The right token leads to the page and is kept as a cookie; a wrong one is told."""
    token = "t" * 32
    client = open_client(config, tokens={token: "teach"})
    reply = client.get("/docs", headers=PAGE, follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "/login?then=%2Fdocs")
    assert client.get("/docs").status_code == 401
    assert 'value="/docs"' in client.get("/login?then=%2Fdocs").text
    wrong = client.post("/login", data={"token": "x", "then": "/docs"}, headers=PAGE)
    assert wrong.status_code == 401
    assert "This token is wrong" in wrong.text
    assert client.get("/docs").status_code == 401
    entered = client.post("/login", data={"token": token, "then": "/docs"}, headers=PAGE, follow_redirects=False)
    assert (entered.status_code, entered.headers["location"]) == (303, "/docs")
    assert client.get("/docs").status_code == 200


def test_the_form_is_bounded(client):
    """It holds one token."""
    assert client.post("/login", data={"token": "x" * 20_000}).status_code == 413


def test_who_may_only_read_may_classify(open_client, reviewing_config, images):
    """And is told that nothing can be changed; a change is refused as a page."""
    client = open_client(reviewing_config, tokens={"r" * 32: "read"})
    headers = {**PAGE, "authorization": f"Bearer {'r' * 32}"}
    reply = client.post("/", files={"image": images[0]}, headers=headers)
    assert reply.status_code == 200
    assert "read-only" in reply.text
    assert "Your token may only read." in reply.text
    assert client.post("/dataset/labels/red", data={"to": "x"}, headers=headers).status_code == 403
