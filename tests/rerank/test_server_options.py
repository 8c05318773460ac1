"""Keys and headers come from the environment, are sent with each request, and appear nowhere else."""

import pytest

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError, RerankerError
from lmm_classifier.rerank.registry import open_reranker

SECRET = "hush-hush-0123456789"


def options(**server):
    config = PipelineConfig(rerank={"backend": "openai_api", "server": server})
    reranker = open_reranker(config.rerank, lambda *_: [])
    return config, reranker.options


def test_headers(monkeypatch):
    """The key is a bearer token; variables are filled in; a header of the user replaces the program's."""
    monkeypatch.setenv("OPENAI_API_KEY", "key-1")
    monkeypatch.setenv("GATEWAY", SECRET)
    _, plain = options()
    assert plain.headers() == {"Authorization": "Bearer key-1"}
    _, more = options(extra_headers={"authorization": "Basic ${GATEWAY}", "X-Team": "red"})
    assert more.headers() == {"authorization": f"Basic {SECRET}", "X-Team": "red"}
    monkeypatch.delenv("GATEWAY")
    with pytest.raises(RerankerError, match="GATEWAY"):
        more.headers()


def test_values_of_headers_are_secret(monkeypatch):
    """No repr, dump or identity contains them, and texts of a server are shown without them."""
    monkeypatch.setenv("GATEWAY", SECRET + "-2")
    config, chosen = options(extra_headers={"X-Api-Key": SECRET, "X-Other": "Token ${GATEWAY}", "X-Team": "red"})
    shown = f"{config!r} {config} {chosen!r} {config.model_dump()} {config.model_dump_json()} {chosen.request_settings}"
    assert SECRET not in shown
    assert "hush" not in chosen.quote(f"your keys {SECRET} and {SECRET}-2 are wrong, red one")
    assert "red one" in chosen.quote("red one")


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ({"extra_headers": {"Host": "x"}}, "Host"),
        ({"extra_headers": {"X Y": "x"}}, "pattern"),
        ({"extra_headers": {"X": "a\r\nb: hush"}}, "printable"),
        ({"extra_headers": "Authorization: Bearer hush-hush"}, "extra_headers"),
        ({"extra_body": {"messages": []}}, "messages"),
        ({"extra_body": {"stream": True}}, "stream"),
        ({"extra_body": {"x": float("nan")}}, "JSON"),
        ({"base_url": []}, "at least one"),
        ({"base_url": ["http://127.0.0.1/v1", "http://me:hush@h/v1"]}, "password"),
        ({"base_url": "ftp://me:hush@h/v1"}, "expected a URL"),
        ({"base_url": "http://me:hush@h:99999/v1"}, "expected a URL"),
        ({"base_url": "http://h/v1?key=hush"}, "key"),
        ({"proxy": "http://me:hush@proxy/"}, "password"),
        ({"proxy": "maybe"}, "expected a URL"),
        ({"thinking": "sometimes"}, "thinking"),
        ({"token_budget": 0}, "token_budget"),
    ],
)
def test_wrong_settings_are_refused_without_their_secrets(server, message):
    """The message names the setting and shows no password."""
    with pytest.raises(ConfigError, match=message) as caught:
        PipelineConfig(rerank={"server": server})
    assert "hush" not in str(caught.value)


def test_settings_by_text():
    """YAML reads bare `off` and `on` as booleans; they mean the words."""
    config = PipelineConfig()
    for setting in ("thinking=off", "proxy=off", "extra_body={seed: 1}", "base_url=[http://a/v1/, http://b/v1]"):
        config.set(f"rerank.server.{setting}")
    server = config.rerank.server
    assert (server.thinking, server.proxy, server.extra_body) == ("off", "off", {"seed": 1})
    assert server.base_url == ["http://a/v1", "http://b/v1"]
    config.set("rerank.server.thinking=on")
    assert config.rerank.server.thinking == "on"
    with pytest.raises(ConfigError) as caught:
        config.set("rerank.server.extra_headers={Authorization: [Bearer hush-hush]}")
    assert "hush" not in str(caught.value)


def test_the_identity_names_what_changes_answers():
    """Fields of the request and thinking belong to it; URLs, headers, keys and pace do not."""

    def identity(**server):
        config = PipelineConfig(rerank={"backend": "openai_api", "server": server})
        return open_reranker(config.rerank, lambda *_: []).identity

    plain = identity()
    assert identity(base_url="http://elsewhere:9/v1", deadline=3.0, concurrency=2) == plain
    assert identity(base_url=["http://a/v1", "http://b/v1"], extra_headers={"X": "1"}, proxy="off") == plain
    assert identity(extra_body={"seed": 1}) != plain
    assert identity(thinking="off") != plain
    assert "127.0.0.1" not in plain
