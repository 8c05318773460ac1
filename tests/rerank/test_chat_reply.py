"""A reply is foreign JSON: it becomes ours, or a failure with a name, whatever it holds."""

import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmm_classifier.rerank.chat_reply import ChatReply, ReplyError, models_of, parse_reply, split_thoughts, tokens_of
from lmm_classifier.rerank.responses import read_log_probabilities


def body(message=None, **choice):
    return json.dumps({"choices": [{"message": {"content": "A"} if message is None else message, **choice}]}).encode()


def fault_of(data):
    with pytest.raises(ReplyError) as caught:
        _ = parse_reply(data).answer
    return caught.value.fault


FAULTS = [
    (b"", "not_json"), (b"<html>", "not_json"), (b"[" * 100_000, "not_json"), (b'{"choices"', "not_json"),
    (b'\xff\xfe{"choices": []}', "not_json"), (b"1" * 100_000, "not_json"), (b'data: {"choices": []}', "not_json"),
    (b"{}", "not_a_completion"), (b"[]", "not_a_completion"), (b"null", "not_a_completion"), (b"7", "not_a_completion"),
    (b'{"choices": []}', "not_a_completion"), (b'{"choices": {"message": 7}}', "not_a_completion"),
    (b'{"choices": [7]}', "not_a_completion"), (b'{"choices": [{"text": "A"}]}', "not_a_completion"),
    (b'{"error": {"message": "no memory"}}', "server_error"), (b'{"error": "no memory"}', "server_error"),
    (b'{"choices": [{"message": 7}, {"message": {"content": 7}}]}', "not_a_completion"),
    (body({"content": 7}), "malformed"), (body({"content": {"text": "A"}}), "malformed"),
    (body(logprobs=7), "malformed"), (body(logprobs={"content": 7}), "malformed"),
    (body(logprobs={"content": [{"token": "A", "logprob": -1, "top_logprobs": 5}]}), "malformed"),
    (body(logprobs={"content": [{"token": 5, "logprob": -1}]}), "malformed"),
    (body(logprobs={"content": [{"token": "A", "logprob": "-1"}]}), "malformed"),
    (body(logprobs={"content": [{"token": "A", "logprob": math.nan}]}), "malformed"),
    (body(logprobs={"content": [{"token": "A", "logprob": 0.7}]}), "malformed"),
    (body(logprobs={"content": [{"token": "A", "logprob": True}]}), "malformed"),
    (body({"content": None}), "empty"), (body({"content": ""}), "empty"), (body({}), "empty"),
    (body({"content": []}), "empty"), (body({"content": None}, finish_reason="length"), "out_of_tokens"),
    (body({"content": "<think>the circle"}), "out_of_tokens"),
    (body({"content": "<|channel|>analysis<|message|>the circle"}), "out_of_tokens"),
    (body({"content": None, "reasoning_content": "x" * 500}, finish_reason="length"), "out_of_tokens"),
    (body({"content": None, "refusal": "no"}), "refused"),
    (body({"content": None}, finish_reason="content_filter"), "refused"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "fault"), FAULTS)
def test_each_fault_has_a_name(data, fault):
    """Wrong types, ranges, encodings and depths give one of a closed set of reasons."""
    assert fault_of(data) == fault


ANSWERS = [
    ({"content": "B"}, "B", False), ({"content": " B\n"}, "B", False),
    ({"content": "<think>A or B?</think>\n\nB"}, "B", True),
    ({"content": "<think>\n\n</think>\n\nB"}, "B", False), ({"content": "A or B?</think>B"}, "B", True),
    ({"content": "<THINKING>A</THINKING>B"}, "B", True), ({"content": "[THINK]A[/THINK]B"}, "B", True),
    ({"content": "◁think▷A◁/think▷B"}, "B", True), ({"content": "<think>A</think><think>C</think>B"}, "B", True),
    ({"content": "B", "reasoning_content": "A?"}, "B", True), ({"content": "B", "reasoning": "A?"}, "B", True),
    ({"content": "B", "reasoning_content": ""}, "B", False), ({"content": None, "reasoning_content": "B"}, "B", True),
    ({"content": [{"type": "text", "text": "B"}]}, "B", False), ({"content": ["B"]}, "B", False),
    ({"content": [{"type": "thinking", "thinking": [{"text": "A?"}]}, {"type": "text", "text": "B"}]}, "B", True),
    ({"content": [{"text": "The answer"}, {"type": "text", "text": " is B"}]}, "The answer is B", False),
    ({"content": "<|begin_of_box|>B<|end_of_box|>"}, "B", False),
    ({"content": "B", "tool_calls": [], "x": [1]}, "B", False),
    ({"content": "<seed:think>A</seed:think>B"}, "B", True), ({"content": "<analysis>A</analysis>B"}, "B", True),
    ({"content": "<|START_THINKING|>A<|END_THINKING|><|START_RESPONSE|>B<|END_RESPONSE|>"}, "B", True),
    ({"content": "<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>final<|message|>B"}, "B", True),
    ({"content": "<|channel|>final<|message|>B<|return|>"}, "B", False),
    ({"content": "<think>A</think>B<｜end▁of▁sentence｜>"}, "B", True), ({"content": "B</s>"}, "B", False),
    ({"content": "B<end_of_turn>"}, "B", False),
]  # fmt: skip


@pytest.mark.parametrize(("message", "text", "reasoned"), ANSWERS)
def test_the_answer_is_told_from_thoughts(message, text, reasoned):
    """Between tags, after them, in a field of its own, or in a list of chunks: thoughts are no part of the answer."""
    reply = parse_reply(body(message))
    assert (reply.answer, reply.reasoned) == (text, reasoned)


def test_an_error_with_status_200_tells_the_status_that_it_names():
    """Routers of several providers pass their refusals on in this way."""
    for code, status in ((429, 429), ("429", None), (None, None), (True, None)):
        with pytest.raises(ReplyError) as caught:
            parse_reply(json.dumps({"error": {"code": code, "message": "too many requests"}}).encode())
        assert (caught.value.fault, caught.value.status) == ("server_error", status)


def test_hidden_thoughts():
    """Tokens that were spent on thoughts count as thoughts, where the server counts them."""
    usage = {"prompt_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 64}}
    reply = parse_reply(json.dumps({"choices": [{"message": {"content": "B"}}], "usage": usage}).encode())
    assert reply.reasoned
    assert reply.prompt_tokens == 9


@pytest.mark.parametrize(
    "usage", [7, None, [], "9", {"prompt_tokens": "9"}, {"prompt_tokens": True}, {"prompt_tokens": 1.5}]
)
def test_what_is_not_needed_may_be_malformed(usage):
    """A wrong usage, model or reason of the end costs no answer."""
    choice = {"message": {"content": "B"}, "finish_reason": 7, "index": "x"}
    reply = parse_reply(json.dumps({"choices": [choice], "usage": usage, "model": 7, "id": None}).encode())
    assert reply == ChatReply("B", False, "stop", None, None, None)


@pytest.mark.parametrize(("spent", "reasoned"), [(0, False), (1, True), (None, False), ("64", False)])
def test_a_single_hidden_token_is_a_thought(spent, reasoned):
    """None are none; what is no number counts as missing."""
    usage = {"completion_tokens_details": {"reasoning_tokens": spent}}
    reply = parse_reply(json.dumps({"choices": [{"message": {"content": "B"}}], "usage": usage}).encode())
    assert reply.reasoned == reasoned


@pytest.mark.parametrize(
    ("message", "finish", "expected"),
    [
        ({"content": "B"}, "stop", ("B", False, "stop")),
        ({"content": "B"}, None, ("B", False, "stop")),
        ({"content": "B"}, "length", ("B", False, "length")),
        ({"content": "B"}, "max_tokens", ("B", False, "length")),
        ({"content": "<think>the circle"}, "stop", ("", True, "length")),
        ({"content": "<think>"}, "stop", ("", True, "length")),
        ({"content": "B", "refusal": "no"}, "stop", ("B", False, "refused")),
        ({"content": "B", "refusal": ""}, "stop", ("B", False, "stop")),
        ({"content": "B"}, "content_filter", ("B", False, "refused")),
        ({"content": "B", "refusal": "no"}, "length", ("B", False, "length")),
        ({"content": "", "reasoning_content": "B"}, "length", ("", True, "length")),
        ({"content": "C", "reasoning_content": "B"}, "stop", ("C", True, "stop")),
    ],
)
def test_why_a_reply_ended(message, finish, expected):
    """Cut, refused or complete, and whether the model thought; a thought that was cut is no answer."""
    reply = parse_reply(body(message, finish_reason=finish))
    assert (reply.text, reply.reasoned, reply.finish) == expected


@pytest.mark.parametrize(("length", "text"), [(400, "x" * 400), (401, "")])
def test_a_short_text_in_the_wrong_field_is_the_answer(length, text):
    """At most 400 characters: a longer one is a train of thought."""
    reply = parse_reply(body({"content": None, "reasoning_content": "x" * length}))
    assert (reply.text, reply.reasoned) == (text, True)


@pytest.mark.parametrize(
    ("message", "length"),
    [
        ({"content": None, "reasoning_content": "x" * 300, "reasoning": "x" * 300}, 300),
        ({"content": None, "reasoning_content": "x" * 150, "reasoning": "y" * 150}, 300),
        ({"content": None, "thinking": {"a": "x" * 300}}, 309),
        ({"content": [{"type": "thinking", "thinking": "x" * 300}]}, 300),
        ({"content": [{"type": "reasoning", "text": "x" * 300}]}, 300),
        ({"content": [{"type": "thought", "text": "x"}, {"type": "redacted_thinking", "text": "y"}, "z"]}, 1),
    ],
)
def test_thoughts_of_all_fields_are_read_once(message, length):
    """Some servers repeat them under two names, others divide them; what is no text is read as JSON."""
    reply = parse_reply(body(message))
    assert (len(reply.text), reply.reasoned) == (length, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B", ("B", "", True)),
        ("a<think>b</think>c", ("ac", "b", True)),
        ("a</think>b</think>c", ("c", "ab", True)),
        ("a<think>b</think>c</think>d", ("d", "bac", True)),
        ("a<think>b<think>c", ("a", "bc", False)),
        ("<think>a</think><think>b", ("", "ab", False)),
        (" B <|im_end|>\n", ("B", "", True)),
        ("<|" + "x" * 40 + "|>B<|i m|>", ("B<|i m|>", "", True)),
    ],
)
def test_texts_are_split_at_tags(text, expected):
    """Answer, thoughts, and whether the last thought was closed."""
    assert split_thoughts(text) == expected


@pytest.mark.parametrize(("value", "stored"), [(-2.5, -2.5), (0, 0.0), (1e-3, 0.0), (1.001e-3, None), (math.nan, None)])
def test_a_logarithm_of_a_probability_is_hardly_above_0(value, stored):
    """Rounding may lift it a thousandth above 0; what is more is no logarithm of a probability."""
    data = body(logprobs={"content": [{"token": "A", "logprob": value}]})
    if stored is None:
        with pytest.raises(ReplyError, match="malformed") as caught:
            parse_reply(data)
        assert "choices.0.logprobs.content.0.logprob" in caught.value.describe()
        return
    assert parse_reply(data).first_token == (("A", stored),)


@pytest.mark.parametrize(("count", "accepted"), [(1, True), (128, True), (129, False)])
def test_a_reply_has_few_choices(count, accepted):
    """The first one counts. OpenAI allows 128."""
    choices = [{"message": {"content": content}} for content in ["A", *"B" * (count - 1)]]
    data = json.dumps({"choices": choices, "model": "m"}).encode()
    if accepted:
        assert parse_reply(data) == ChatReply("A", False, "stop", None, None, "m")
        return
    assert fault_of(data) == "not_a_completion"


def test_what_the_server_wrote_is_quoted():
    """Its message, or what it sent instead of JSON, up to 120 characters; a byte order mark is no fault."""
    for data, shown in (
        (b'{"error": {"message": "no memory"}}', "the reply is an error with status 200: 'no memory'"),
        (b'{"error": "no memory"}', "the reply is an error with status 200: 'no memory'"),
        (b'{"error": {"message": ""}}', "the reply has no choices, so it is not a chat completion"),
        (b'{"error": {"message": 7}}', "the reply has no choices, so it is not a chat completion"),
        (b'["error"]', "the reply has no choices, so it is not a chat completion"),
        (b"<html>Bad Gateway", "the reply is not JSON: '<html>Bad Gateway'"),
        (b"x" * 121, f"the reply is not JSON: '{'x' * 119}…'"),
        (b"x" * 120, f"the reply is not JSON: '{'x' * 120}'"),
    ):
        with pytest.raises(ReplyError) as caught:
            parse_reply(data)
        assert caught.value.describe() == shown
    assert parse_reply(b"\xef\xbb\xbf" + body()).answer == "A"


def test_the_first_token():
    """A token counts once; a certain one may be lifted above 0 by rounding; -inf is allowed."""
    listed = [{"token": "B", "logprob": -3}, {"token": "A", "logprob": -1e30}, {"token": "C", "logprob": -math.inf}]
    first = {"token": "A", "logprob": 1e-6, "top_logprobs": listed, "bytes": [65]}
    reply = parse_reply(body(logprobs={"content": [first, {"token": "x", "logprob": 0}]}))
    assert reply.first_token == (("A", -1e30), ("B", -3.0), ("C", -math.inf))
    for nothing in (None, {}, {"content": []}, {"content": None}, {"tokens": ["A"], "token_logprobs": [-1]}):
        assert parse_reply(body(logprobs=nothing)).first_token is None


@pytest.mark.parametrize("text", ["<think>" * 200_000, "</think>" * 200_000, "<think></think>" * 100_000])
def test_tags_cost_no_more_than_their_length(text):
    """Millions of tags are split in one pass."""
    answer, _, closed = split_thoughts(text)
    assert answer == ""
    assert closed == text.endswith("</think>")


NAMES = [
    "choices",
    "message",
    "content",
    "logprobs",
    "usage",
    "token",
    "logprob",
    "top_logprobs",
    "error",
    "data",
    "id",
]
LEAF = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.sampled_from(["A", "<think>", "</think>", "\ud800", "\0"])
)
ANYTHING = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
MESSAGE = st.fixed_dictionaries({"content": ANYTHING})
CHOICE = st.fixed_dictionaries({"message": MESSAGE, "logprobs": ANYTHING})
NEARLY = st.fixed_dictionaries(
    {"choices": st.lists(CHOICE, max_size=2)}, optional={"usage": ANYTHING, "model": ANYTHING}
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(ANYTHING | NEARLY, st.sampled_from(["utf-8", "utf-16", "latin-1"]))
def test_any_json(value, encoding):
    """Any JSON, well encoded or not, becomes a reply or a failure with a name; readers raise nothing."""
    data = json.dumps(value).encode(encoding)
    models_of(data), tokens_of(data)
    try:
        reply = parse_reply(data)
    except ReplyError as error:
        assert error.describe(["secret"])
        return
    assert isinstance(reply.text, str)
    assert reply.prompt_tokens is None or type(reply.prompt_tokens) is int
    logs = read_log_probabilities(reply.first_token, ("A", "B"))
    assert logs is None or ((logs <= 0).all() and not np.isnan(logs).any())


@given(st.binary(max_size=200))
def test_any_bytes(data):
    """Any bytes become a reply or a failure with a name."""
    try:
        parse_reply(data)
    except ReplyError as error:
        assert error.fault in {"not_json", "not_a_completion", "malformed", "server_error"}


def test_lists_of_models_and_tokens():
    """The name of the weights without their folder; anything else is no list."""
    listed = {"data": [{"id": "a", "root": "/data/models/Qwen2-VL"}, {"id": "b", "root": None}, {"id": "c", "root": 7}]}
    listed["data"] += [{"id": "org/d"}, {"id": "e", "root": "/x/y/"}]
    expected = {"a": "Qwen2-VL", "b": "b", "c": "c", "org/d": "d", "e": "y"}
    assert models_of(json.dumps(listed).encode()) == expected
    assert tokens_of(b'{"tokens": [65], "count": 1}') == [65]
    for nothing in (b"", b"[]", b'{"data": 7}', b'{"tokens": ["A"]}', b'{"tokens": [true]}', b'{"data": [{"id": 7}]}'):
        assert models_of(nothing) == {}
        assert tokens_of(nothing) == []


def test_a_failure_does_not_show_a_secret():
    """The text of the server is quoted without the key, even where it would be cut in the middle of it."""
    error = ReplyError("not_an_option", "x" * 110 + "hush-hush-hush-hush")
    assert "hush" not in error.describe(["hush-hush-hush-hush"])
    assert "xxx" in error.describe()
