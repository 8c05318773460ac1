"""Forms as a browser without scripts sends them."""

PAGE = {"accept": "text/html"}


def send(client, address, **fields):
    """Send a form, and return the answer without following it."""
    return client.post(address, data=fields, headers=PAGE, follow_redirects=False)


def followed(client, reply):
    """Return the page that an answer leads to."""
    assert reply.status_code == 303, reply.text
    page = client.get(reply.headers["location"], headers=PAGE)
    assert page.status_code == 200, page.text
    return page.text
