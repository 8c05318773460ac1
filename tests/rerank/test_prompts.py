"""Prompts consist of texts and images, and a label in them is never more than text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.rerank.prompt_template import (
    DEFAULT_PROMPT_TEMPLATE,
    check_pairwise_template,
    check_references_template,
    check_template,
)
from lmm_classifier.rerank.prompts import NONE, PromptOptions, escape_label, make_prompts, option_orders

QUERY = Image.new("RGB", (8, 8), (1, 2, 3))
EXAMPLE = Image.new("RGB", (8, 8), (200, 2, 3))


def asked(*labels, references=()):
    candidates = tuple(Candidate(label, 1 / len(labels), ()) for label in labels)
    return RerankRequest(QUERY, candidates, references=references)


def as_text(prompt):
    """The prompt as text: the image in question as #, examples as *."""
    marks = {id(QUERY): "#", id(EXAMPLE): "*"}
    return "".join(part if isinstance(part, str) else marks[id(part)] for part in prompt.parts)


@pytest.mark.parametrize("label", ["none of these", "None of these ", "none  of these"])
def test_a_label_that_is_called_as_the_none_option_is_the_only_one_of_its_name(label):
    """Two options of one name could not be told apart."""
    (prompt, _) = make_prompts(PromptOptions(none_option=True), asked(label, "x"))
    assert NONE not in prompt.stands_for
    assert " ".join(as_text(prompt).lower().split()).count("none of these") == 1


def test_by_names_in_two_opposite_orders():
    """First the image, which both prompts share, then the options: sorted by name, and in the opposite order."""
    first, second = make_prompts(PromptOptions(), asked("stripes", "polka dots"))
    assert as_text(first) == (
        "#\nWhich of these does the image show?\nA. polka dots\nB. stripes\nAnswer with the letter of one option."
    )
    assert as_text(second) == as_text(first).replace("A. polka dots\nB. stripes", "A. stripes\nB. polka dots")
    assert first.answers == second.answers == ("A", "B")
    assert (first.stands_for, second.stands_for) == ((1, 0), (0, 1))


def test_the_rank_of_a_candidate_does_not_show():
    """Candidates in another order give the same texts; only the candidates of the letters differ."""
    first, second = (make_prompts(PromptOptions(), asked(*labels)) for labels in ("xyz", "zxy"))
    assert [as_text(prompt) for prompt in first] == [as_text(prompt) for prompt in second]
    assert first[0].stands_for == (0, 1, 2)
    assert second[0].stands_for == (1, 2, 0)


def test_by_references_the_repeated_part_comes_first():
    """First the options with their images, then the image in question, so that the prefix can be cached."""
    request = asked("b", "a", references=((EXAMPLE, EXAMPLE), (EXAMPLE,)))
    first, second = make_prompts(PromptOptions("references"), request)
    head, foot = "Which of these does the last image show?\n", "\n#\nAnswer with the letter of one option."
    assert as_text(first) == f"{head}A. a:*\nB. b:**{foot}"
    assert as_text(second) == f"{head}A. b:**\nB. a:*{foot}"


def test_in_pairs_one_prompt_per_example():
    """First the image, then one example; yes is for the label of the example, no for none."""
    request = asked("b", "a", references=((EXAMPLE, EXAMPLE), (EXAMPLE,)))
    prompts = make_prompts(PromptOptions("pairwise"), request)
    assert {as_text(prompt) for prompt in prompts} == {
        "#\n*\nDo both images show the same kind of thing? Answer yes or no."
    }
    assert [prompt.stands_for for prompt in prompts] == [(0, NONE), (0, NONE), (1, NONE)]
    assert {prompt.answers for prompt in prompts} == {("yes", "no")}
    for references in ((), ((EXAMPLE,), ())):
        with pytest.raises(ValueError, match="at least one reference"):
            make_prompts(PromptOptions("pairwise"), asked("a", "b", references=references))


def test_none_of_these_is_one_more_option():
    """It is listed last, or first in the opposite order, and is for no candidate."""
    first, second = make_prompts(PromptOptions(none_option=True), asked("a", "b"))
    assert "A. a\nB. b\nC. none of these\nAnswer" in as_text(first)
    assert "A. none of these\nB. b\nC. a\nAnswer" in as_text(second)
    assert (first.stands_for, second.stands_for) == ((0, 1, NONE), (NONE, 1, 0))


def test_as_many_options_as_letters():
    """At least 1 and at most 26 options are allowed, and `none of these` counts."""
    assert as_text(make_prompts(PromptOptions(orders=1), asked(*map(str, range(26))))[0]).count("\n") == 28
    for labels, none in (((), False), (tuple(map(str, range(27))), False), (tuple(map(str, range(26))), True)):
        with pytest.raises(ValueError, match="1 to 26"):
            make_prompts(PromptOptions(none_option=none), asked(*labels))


@given(st.integers(1, 26), st.integers(1, 26))
def test_orders(count, orders):
    """All orders are different permutations, no more than wanted; two are opposite, more are cyclic."""
    permutations = option_orders(range(count), orders)
    assert len(permutations) == min(orders, max(1, count)) or len(permutations) == 2
    assert len({tuple(order) for order in permutations}) == len(permutations)
    assert all(sorted(order) == list(range(count)) for order in permutations)
    if orders == 2 and count > 1:
        assert permutations[1] == permutations[0][::-1]
    if orders >= 3 and count >= 3:
        twice = permutations[0] * 2
        assert all(any(twice[i : i + count] == order for i in range(count)) for order in permutations)


def test_all_cyclic_orders_give_every_option_every_position():
    """With as many orders as options, no option has a better position than another."""
    assert {tuple(sorted(positions)) for positions in zip(*option_orders(range(5), 5))} == {(0, 1, 2, 3, 4)}


def test_placeholders_inside_labels_are_not_filled():
    """A label that looks like a placeholder stays text."""
    text = as_text(make_prompts(PromptOptions(orders=1), asked("{image}", "{options}"))[0])
    assert "A. {image}\nB. {options}" in text
    assert text.count("#") == 1


def test_the_image_comes_first_without_its_placeholder():
    """A template without {image} puts the image before the text."""
    (prompt,) = make_prompts(PromptOptions(orders=1, prompt_template="Choose:\n{options}"), asked("a"))
    assert as_text(prompt) == "#Choose:\nA. a"


@given(st.text(max_size=200))
def test_labels_are_harmless(label):
    """Any label becomes one printable line of bounded length without control tokens."""
    escaped = escape_label(label)
    assert len(escaped) <= 80
    assert "\n" not in escaped
    assert "<|" not in escaped
    assert "|>" not in escaped
    assert escaped.isprintable()


@given(st.text(max_size=60))
def test_templates_are_filled_or_refused(template):
    """A template that passes the check can be filled in with a label."""
    try:
        check_template(template)
    except ValueError:
        return
    text = as_text(make_prompts(PromptOptions(orders=1, prompt_template=template), asked("one label"))[0])
    assert "A. one label" in text
    assert text.count("#") >= 1


@pytest.mark.parametrize(
    ("check", "valid", "invalid", "reason"),
    [
        (check_references_template, "{options} {image}", "{options}", "{image} is missing"),
        (check_pairwise_template, "{image} {reference} same?", "{image} same?", "{reference} is missing"),
        (check_pairwise_template, "{image}{reference}", "{image}{reference}{options}", "not a placeholder"),
        (check_references_template, "{image}{options}", "{image}{image}{options}", "only once"),
    ],
)
def test_the_other_templates_are_checked_too(check, valid, invalid, reason):
    """A template must contain the placeholders of its mode and no others."""
    assert check(valid) == valid
    with pytest.raises(ValueError, match=reason):
        check(invalid)


def test_default_template_is_valid():
    """The default passes its own check."""
    assert check_template(DEFAULT_PROMPT_TEMPLATE) == DEFAULT_PROMPT_TEMPLATE
