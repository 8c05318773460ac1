"""The page of the map, without a browser: what may be done is offered, and odd labels are text."""

from tests.helpers.datasets import offline_config

PAGE = {"accept": "text/html"}


def test_the_page_offers_changes(client):
    """And it says where the same is without a script."""
    page = client.get("/map", headers=PAGE)
    assert page.status_code == 200
    assert 'aria-current="page">Map' in page.text
    assert 'id="map-relabel"' in page.text
    assert '<noscript><p class="banner">The map needs JavaScript. <a href="/dataset">' in page.text


def test_who_may_only_read_is_offered_none(open_client, place):
    """The examples can still be chosen and looked at."""
    reader = open_client(offline_config(place / "index", rerank__enabled=False), tokens={"secret": "read"})
    page = reader.get("/map", headers={**PAGE, "authorization": "Bearer secret"}).text
    assert 'id="map-relabel"' not in page
    assert 'id="map-remove"' not in page
    assert 'id="map-none"' in page
