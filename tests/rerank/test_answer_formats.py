"""Each format of answers has its request, with few tokens, and its own strict reader."""

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.rerank import answer_formats
from lmm_classifier.rerank.answer_formats import Abilities, messages, plain_tokens
from lmm_classifier.rerank.chat_reply import ChatReply, ReplyError
from lmm_classifier.rerank.dialect import Dialect
from lmm_classifier.rerank.prompts import NONE, PromptVariant

IMAGE = Image.new("RGB", (4, 4), (200, 30, 10))
REQUEST = RerankRequest(IMAGE, tuple(Candidate(label, 0.5, ()) for label in ("dots", "stripes")))
LETTERS = PromptVariant(("What is it?", IMAGE), ("A", "B", "C"), (1, 0, NONE))  # A: stripes, B: dots, C: none of these
PAIR = PromptVariant(("Are they the same?",), ("yes", "no"), (0, NONE))


def reply(text="", first_token=None):
    return ChatReply(text, False, "stop", first_token, None, None)


def chances(answer_format, answer, prompt=LETTERS):
    return np.exp(Abilities(answer_format).read(answer, prompt, REQUEST)).round(6).tolist()


@pytest.mark.parametrize(
    ("answer_format", "tokens"), [("logprobs", 1), ("choice", 8), ("json", 24), ("token", 1), ("text", 16)]
)
def test_an_answer_may_take_few_tokens(answer_format, tokens):
    """A single token where its probability is read, and no more than the format needs; likely answers are asked for."""
    payload = Abilities(answer_format).payload(LETTERS)
    assert (payload["max_tokens"], payload["temperature"]) == (tokens, 0)
    assert payload["messages"] == messages(LETTERS)["messages"]


def test_a_sentence_is_the_plain_answer():
    """The probe asks for as many tokens as the format `text` does."""
    assert plain_tokens() == Abilities("text").payload(PAIR)["max_tokens"]


def test_a_model_that_thinks_gets_its_budget():
    """Whatever the format."""
    assert Abilities("token", dialect=Dialect(thinks=True, token_budget=77)).payload(PAIR)["max_tokens"] == 77


def extra(abilities, prompt):
    """What the request has besides the messages and what the dialect adds."""
    common = {"messages", "max_tokens", "temperature"}
    return {name: value for name, value in abilities.payload(prompt).items() if name not in common}


def test_log_probabilities_are_asked_for():
    """Of as many tokens as servers allow; of exactly the letters of the prompt, where the server can list those."""
    listed = {"logprobs": True, "top_logprobs": 20}
    tokens = tuple(range(65, 91))
    assert extra(Abilities("logprobs"), LETTERS) == listed
    assert extra(Abilities("logprobs", tokens), LETTERS) == {**listed, "logprob_token_ids": [65, 66, 67]}
    assert extra(Abilities("logprobs", tokens), PAIR) == listed


def test_constraints_are_the_answers():
    """Nothing else can be generated: not another letter, not another field."""
    assert extra(Abilities("choice"), LETTERS) == {"structured_outputs": {"choice": ["A", "B", "C"]}}
    (form,) = extra(Abilities("json"), PAIR).values()
    assert (form["type"], form["json_schema"]["strict"]) == ("json_schema", True)
    assert form["json_schema"]["schema"] == {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": ["yes", "no"]}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    assert extra(Abilities("text"), LETTERS) == extra(Abilities("token"), LETTERS) == {}


def test_each_format_has_its_reader():
    """Log-probabilities as they are; one choice has 0.9, and the others share the rest."""
    listed = (("B", math.log(0.6)), ("A", math.log(0.3)))
    assert chances("logprobs", reply("A", listed)) == [0.3, 0.6, 0.0]
    assert chances("json", reply('{"answer": "B"}')) == [0.05, 0.9, 0.05]
    for answer_format in ("choice", "token", "text"):
        assert chances(answer_format, reply("C")) == [0.05, 0.05, 0.9]
    assert chances("text", reply("No."), PAIR) == [0.1, 0.9]


def test_names_of_the_options_are_answers_in_a_text():
    """In the order of the prompt, `none of these` as well. A comparison of two images has no names."""
    assert chances("text", reply("stripes")) == [0.9, 0.05, 0.05]
    assert chances("text", reply("B. dots")) == [0.05, 0.9, 0.05]
    assert chances("text", reply("none of these")) == [0.05, 0.05, 0.9]
    with pytest.raises(ReplyError, match="not one of the options"):
        Abilities("text").read(reply("dots"), PAIR, REQUEST)


@pytest.mark.parametrize(
    ("answer_format", "answer", "fault"),
    [
        ("logprobs", reply("A"), "no_probabilities"),
        ("json", reply("A"), "not_an_option"),
        ("choice", reply("D"), "not_an_option"),
        ("text", reply(""), "empty"),
    ],
)
def test_a_reply_without_an_answer_is_named(answer_format, answer, fault):
    """Nothing is guessed."""
    with pytest.raises(ReplyError) as caught:
        Abilities(answer_format).read(answer, LETTERS, REQUEST)
    assert caught.value.fault == fault


def sent_image(image):
    ((message,),) = messages(PromptVariant((image,), ("yes", "no"), (0, NONE))).values()
    url = message["content"][0]["image_url"]["url"]
    head, _, data = url.partition(",")
    content = base64.b64decode(data)
    return head, content, Image.open(io.BytesIO(content))


def test_a_small_image_is_sent_without_loss():
    """As PNG; texts and images keep their order."""
    head, _, sent = sent_image(IMAGE)
    assert head == "data:image/png;base64"
    assert sent.tobytes() == IMAGE.tobytes()
    assert [part["type"] for part in messages(LETTERS)["messages"][0]["content"]] == ["text", "image_url"]


def noise(height, width):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def test_a_large_image_is_sent_as_a_good_jpeg():
    """From 200,000 bytes of PNG on, with colors at full resolution and the tables of quality 92."""
    image = noise(260, 260)
    head, content, sent = sent_image(image)
    assert head == "data:image/jpeg;base64"
    expected = io.BytesIO()
    image.save(expected, "JPEG", quality=92, subsampling=0)
    assert content == expected.getvalue()
    assert sent.size == image.size
    assert sent_image(noise(256, 256))[0] == "data:image/png;base64"  # 197,000 bytes


def test_a_png_of_the_limit_is_sent(monkeypatch):
    """One byte more is too many."""
    size = len(sent_image(IMAGE)[1])
    monkeypatch.setattr(answer_formats, "_MAX_PNG_BYTES", size)
    assert sent_image(IMAGE)[0] == "data:image/png;base64"
    monkeypatch.setattr(answer_formats, "_MAX_PNG_BYTES", size - 1)
    assert sent_image(IMAGE)[0] == "data:image/jpeg;base64"
