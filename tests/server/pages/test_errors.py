"""A browser gets pages for errors, a program gets problems."""

PAGE = {"accept": "text/html,application/xhtml+xml"}


def test_a_page_that_is_not_there(client):
    """The page says what happened; a program, a script and the addresses of programs get JSON."""
    reply = client.get("/nothing/<b>", headers=PAGE)
    assert reply.status_code == 404
    assert reply.headers["content-type"].startswith("text/html")
    assert "Nothing is there" in reply.text
    for address, headers in (("/nothing", {}), ("/nothing", {**PAGE, "hx-request": "true"}), ("/v1/nothing", PAGE)):
        assert client.get(address, headers=headers).headers["content-type"] == "application/problem+json"


def test_headers_of_a_problem_stay(client):
    """Such as the methods that are allowed."""
    reply = client.post("/docs", headers=PAGE)
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET")
