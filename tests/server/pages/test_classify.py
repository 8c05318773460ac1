"""The Classify page without a browser: one image or a form, with evidence, and what cannot be answered."""

PAGE = {"accept": "text/html"}


def test_one_image_is_a_part_of_a_page(client, images):
    """Words only where the index is calibrated; the neighbors are shown by their content."""
    reply = client.post("/classify", content=images[0], headers={"content-type": "image/png"})
    assert reply.status_code == 200
    assert "not calibrated" in reply.text
    assert "/v1/thumbs/" in reply.text
    assert "data-teach=" in reply.text
    assert "<html" not in reply.text


def test_words_are_earned(calibrated, images):
    """By a calibration."""
    reply = calibrated.post("/classify", content=images[0], headers={"content-type": "image/png"})
    assert "of 100 such answers are right" in reply.text or "Nothing like it" in reply.text


def test_a_form_has_an_answer_for_each_image(client, images):
    """Names are text, never markup; a file that is no image has the reason."""
    files = [("image", ("<b>.png", images[0])), ("image", ("x.png", b"no image")), ("other", ("y", b""))]
    reply = client.post("/classify", files=files, headers=PAGE)
    assert reply.status_code == 200
    assert reply.text.count('<article class="answer">') == 2
    assert "&lt;b&gt;.png" in reply.text
    assert "<b>" not in reply.text
    assert "no answer" in reply.text


def test_an_image_alone_that_cannot_be_read(client):
    """The script shows the detail of the problem."""
    reply = client.post("/classify", content=b"no image", headers={"content-type": "image/png"})
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"


def test_the_page_lists_the_labels(client):
    """So that a label is written by its first letters."""
    text = client.get("/", headers=PAGE).text
    assert 'aria-current="page">Classify' in text
    assert '<datalist id="labels">' in text
