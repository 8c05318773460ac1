"""The review in a browser: by keys alone, in two tabs, and while the server is killed."""

import os
import re
import shutil
import signal

import pytest
from playwright.sync_api import expect

from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder, draw_color, draw_sides
from tests.helpers.live_server import LiveServer
from tests.helpers.server_process import ServerProcess, got

HOSTILE = (b"<img src=x onerror=alert(1)>.png", '\u202egnp.\u202dx"\u2028.png'.encode(), b"bad\xff%2e%2e.png")
LABEL = '"><img src=x onerror=alert(1)>..'
COLORS = {"yellow": (170, 170, 0), "cyan": (0, 170, 170), "magenta": (170, 0, 170), "white": (170, 170, 170)}
PATIENCE = 30_000  # milliseconds


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index, and a root with a folder of new images of four unknown colors, some with hostile names."""
    root = tmp_path_factory.mktemp("browser")
    draw_sides(root / "dataset", count=6)
    config = offline_config(root / "index")
    build_index_from_directory(root / "dataset", root / "index", config=config, encoder=ColorEncoder())
    for number, (name, color) in enumerate(COLORS.items()):
        folder = root / "inbox" / "new" / name
        folder.mkdir(parents=True)
        for place in range(7):
            draw_color(folder / f"{place}.png", color, (number, place))
    for place, name in enumerate(HOSTILE):
        draw_color(os.fsencode(root / "inbox" / "new") + b"/" + name, COLORS["yellow"], (9, place))
    return root


@pytest.fixture
def index(made, tmp_path):
    return shutil.copytree(made / "index", tmp_path / "index", ignore=shutil.ignore_patterns("*.lock"))


@pytest.fixture
def server(request, made, index, tmp_path):
    """A server in this process, or in one of its own where the test kills it."""
    if getattr(request, "param", None) == "killed":
        running = ServerProcess(index, made / "inbox")
        yield running
        running.kill(signal.SIGTERM)
        return
    config = offline_config(index, rerank__enabled=False, images__threads=2)
    config.server.roots = {"inbox": made / "inbox"}
    if getattr(request, "param", None) == "calibrated":
        shutil.rmtree(index)
        dataset = draw_sides(tmp_path / "dataset", count=20)
        build_index_from_directory(dataset, index, config=config, encoder=ColorEncoder())
        calibrate_index(index, config)
        config.retrieval.confidence_threshold = 0.9999  # so that the familiar images wait for a person
    with LiveServer(config, ColorEncoder()) as running:
        yield running


@pytest.fixture
def context(browser, server):
    """A window whose pages ask no other server, and say nothing on the console."""
    made = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=server.url)
    made.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    said, asked = [], []
    made.on("console", lambda message: said.append(f"{message.type}: {message.text} ({message.location['url']})"))
    made.on("weberror", lambda error: said.append(str(error.error)))
    made.on("request", lambda request: asked.append(request.url))
    made.said = said
    yield made
    made.close()
    assert not [url for url in asked if not url.startswith((f"{server.url}/", "blob:"))]


def reviewed(context, server):
    """Return a page that reviews a new run over the folder, begun with the form."""
    page = context.new_page()
    page.goto("/review")
    page.get_by_label("Or a folder of the server").select_option("inbox/new")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/review/1")
    page.wait_for_function("() => document.getElementById('counts').textContent.startsWith('31 open')")
    expect(page.locator("#current")).to_have_attribute("data-item", any_number())
    assert got(server, "/v1/runs/1")["state"] == "done"
    return page


def any_number():
    return re.compile(r"\d+")


def press(page, key):
    """Press a key that decides, and wait for the next image or the end."""
    item = item_of(page)
    page.keyboard.press(key)
    page.wait_for_function(
        """item => {
            const isNext = document.getElementById("current").dataset.item !== item;
            const isThere = !document.getElementById("stage").hidden;
            return isThere ? isNext : document.getElementById("done").dataset.state === "end";
        }""",
        arg=item,
    )


def item_of(page):
    return page.locator("#current").get_attribute("data-item")


def until_counts(page, text):
    expect(page.locator("#counts")).to_contain_text(text)


def saved(page):
    expect(page.locator("#review")).to_have_attribute("data-unsaved", "0")


def state(server):
    """All that answers change."""
    run = got(server, "/v1/runs/1")
    labels = got(server, "/v1/labels")["labels"]
    return {name: run[name] for name in ("open", "decided", "confident")}, labels


def unexpected(said):
    """What a console says apart from a server that is away, or starts."""
    return [text for text in said if "net::ERR_" not in text and "status of 503" not in text]


def decisions(server):
    """Newest first."""
    return got(server, "/v1/review/answers?run=1")["answers"]


@pytest.mark.long
def test_by_keys_alone(context, server):
    """Twenty answers, one with a hostile label, then all are undone; nothing is said on the console."""
    page = reviewed(context, server)
    before = state(server)
    page.keyboard.press("n")
    page.keyboard.type(LABEL)
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_contain_text("Taught as")
    for key in "x" + 6 * "uus":
        press(page, key)
    saved(page)
    assert [answer["kind"] for answer in decisions(server)].count("label") == 1
    assert len(decisions(server)) == 20
    page.reload()
    expect(page.locator("#current")).to_have_attribute("data-item", any_number())
    for _ in range(21):
        page.keyboard.press("z")
    expect(page.locator("#notice")).to_contain_text("There is no answer to undo")
    saved(page)
    assert {answer["state"] for answer in decisions(server)} == {"undone"}
    until_counts(page, "31 open · 0 decided")
    server.state.classifier.wait_for_index()
    assert state(server) == before
    assert context.said == [], "\n".join(context.said)


def test_a_whole_group(context, server):
    """One label for all of a group is one edit, and one undo; Enter alone never gives a label."""
    page = reviewed(context, server)
    before = state(server)
    count = int(re.search(r"\d+", page.locator("#whole").inner_text())[0])
    assert count >= 7
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Enter")
    expect(page.locator("#labeling")).to_be_visible()
    page.keyboard.type("new one")
    page.keyboard.press("Enter")
    saved(page)
    assert decisions(server)[0]["size"] == count
    expect(page.locator("#version")).to_have_text("2")
    until_counts(page, f"{count} decided")
    server.state.classifier.wait_for_index()
    assert {row["label"]: row["examples"] for row in got(server, "/v1/labels")["labels"]}["new one"] == count
    page.keyboard.press("z")
    saved(page)
    until_counts(page, "31 open · 0 decided")
    server.state.classifier.wait_for_index()
    assert state(server) == before
    assert context.said == [], "\n".join(context.said)


@pytest.mark.long
@pytest.mark.parametrize("server", ["killed"], indirect=True)
def test_a_killed_server_loses_nothing(context, server):
    """Answers wait in the browser, also over a reload, and are sent when the server is back."""
    page = reviewed(context, server)
    press(page, "u")
    saved(page)
    server.kill()
    for key in "usu":
        press(page, key)
    expect(page.locator("#unsaved")).to_contain_text("3 not saved yet")
    server.start()
    saved(page)
    expect(page.locator("#unsaved")).to_be_hidden()
    assert [answer["kind"] for answer in decisions(server)] == ["unknown", "skip", "unknown", "unknown"]
    server.kill()
    press(page, "s")
    page.keyboard.press("z")  # was not sent, so it is taken back here
    press(page, "u")
    expect(page.locator("#unsaved")).to_contain_text("1 not saved yet")
    page.close()
    server.start()
    again = context.new_page()
    again.goto("/review/1")
    again.wait_for_function("() => document.getElementById('counts').textContent.includes('5 decided')")
    assert len(decisions(server)) == 5
    assert unexpected(context.said) == [], "\n".join(context.said)


@pytest.mark.long
@pytest.mark.parametrize("server", ["killed"], indirect=True)
def test_pages_tell_that_the_server_is_away(context, server, made):
    """Each in its notice; nothing is changed, the console has what the browser itself says; then all works again."""
    reviewed(context, server).close()
    page = context.new_page()
    page.goto("/")
    page.set_input_files("#file", sorted((made / "inbox/new/cyan").iterdir())[:2])
    expect(page.locator("article[data-id]")).to_have_count(2)
    label, quality, review = (context.new_page() for _ in range(3))
    label.goto("/dataset/labels/red")
    quality.goto("/quality")
    review.goto("/review/1")
    expect(review.locator("#current")).to_have_attribute("data-item", any_number())
    server.kill()
    for key in "1z":
        page.keyboard.press(key)
        expect(page.locator("#notice")).to_contain_text("The server does not answer. Nothing was changed")
    label.get_by_role("checkbox").first.check()
    label.get_by_role("button", name="Remove").click()
    expect(label.locator("#notice")).to_contain_text("The server does not answer. Nothing was changed")
    quality.get_by_label("Confidence of the guarantee").select_option("0.8")
    expect(quality.locator("#sentence")).to_contain_text("The server does not answer.")
    review.keyboard.press("n")
    expect(review.locator("#labeling")).to_be_visible()
    review.keyboard.type("new")
    review.keyboard.press("Enter")
    expect(review.locator("#unsaved")).to_contain_text("1 not saved yet")
    server.start()
    saved(review)
    label.get_by_role("button", name="Remove").click()
    expect(label.locator("#notice")).to_contain_text("1 example removed")
    page.set_input_files("#file", sorted((made / "inbox/new/cyan").iterdir())[2:3])
    expect(page.locator("article[data-id]")).to_have_count(3)
    page.keyboard.press("1")
    expect(page.locator(".taught")).to_have_count(1)
    page.keyboard.press("z")
    expect(page.locator(".taught")).to_have_count(0)
    assert unexpected(context.said) == [], "\n".join(context.said)


@pytest.mark.long
def test_two_tabs(context, server):
    """What one tab decides leaves the other; an image is never decided twice."""
    one = reviewed(context, server)
    one.reload()  # the first question may have come before all images were classified
    expect(one.locator("#current")).to_have_attribute("data-item", any_number())
    other = context.new_page()
    other.goto("/review/1")
    expect(other.locator("#current")).to_have_attribute("data-item", item_of(one))
    first = item_of(one)
    one.bring_to_front()
    press(one, "u")
    saved(one)
    other.bring_to_front()
    other.wait_for_function("item => document.getElementById('current').dataset.item !== item", arg=first)
    press(other, "u")
    saved(other)
    answers = decisions(server)
    assert len(answers) == len({item for answer in answers for item in answer["items"]}) == 2
    assert context.said == [], "\n".join(context.said)


@pytest.mark.long
def test_dropped_files_become_a_run(context, server, made):
    """Files that are chosen are uploaded, classified, and wait in a review of their own."""
    page = context.new_page()
    page.goto("/review")
    page.locator("#files").set_input_files(sorted((made / "inbox/new/yellow").iterdir()))
    page.wait_for_url("**/review/1")
    page.wait_for_function("() => document.getElementById('counts').textContent.startsWith('7 open')")
    assert context.said == [], "\n".join(context.said)


@pytest.mark.long
@pytest.mark.parametrize("server", ["calibrated"], indirect=True)
def test_the_rest_is_accepted_by_one_key(context, server, made):
    """What the advice offers is decided in one answer, and one undo takes it back."""
    draw_sides(made / "inbox" / "known", count=2, seed=5)
    context.request.post("/v1/runs", data={"root": "inbox", "folder": "known"})
    server.wait_until(lambda: got(server, "/v1/runs/1")["state"] == "done")
    before = got(server, "/v1/runs/1")
    page = context.new_page()
    page.goto("/review/1")
    expect(page.get_by_role("button", name="Accept")).to_be_visible()
    expect(page.locator("#advice")).to_contain_text("at your target of")
    page.keyboard.press("a")
    expect(page.locator("#notice")).to_contain_text("Accepted what decides itself.")
    saved(page)
    (answer,) = decisions(server)
    after = got(server, "/v1/runs/1")
    assert (answer["kind"], answer["size"]) == ("accept", before["open"] - after["open"])
    until_counts(page, f"{after['open']} open · {answer['size']} decided")
    expect(page.get_by_role("button", name="Accept")).to_be_hidden()
    page.keyboard.press("z")
    until_counts(page, f"{before['open']} open · 0 decided")
    expect(page.get_by_role("button", name="Accept")).to_be_visible()
    saved(page)
    assert got(server, "/v1/runs/1") == before
    assert context.said == [], "\n".join(context.said)


@pytest.mark.long
def test_every_key_has_a_button(context, server):
    """The legend has all keys; each act can be had without a keyboard."""
    page = reviewed(context, server)
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    acts = page.evaluate(
        "async address => (await import(address)).KEYS.map(key => key.act)",
        page.locator("script[type=module]").get_attribute("src").replace("review.js", "review_keys.js"),
    )
    assert page.locator("#legend dt").count() == len(acts)
    assert len(set(acts)) == len(acts)
    buttons = {button.get_attribute("data-act") for button in page.locator("[data-act]").all()}
    assert set(acts) - {"choose", "first"} == buttons
    assert page.locator("#choices button").count() > 1
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("Space")
    expect(page.locator("#compare")).to_be_visible()
    page.keyboard.press("Space")
    expect(page.locator("#compare")).to_be_hidden()
