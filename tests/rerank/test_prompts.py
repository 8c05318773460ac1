"""Questions are pure text and pictures, and labels in them are only ever text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, Question
from lmm_classifier.rerank.prompt_template import (
    DEFAULT_PROMPT_TEMPLATE,
    check_pairwise_template,
    check_references_template,
    check_template,
)
from lmm_classifier.rerank.prompts import NONE, Asking, escape_label, option_orders, write_ballots

PICTURE = Image.new("RGB", (8, 8), (1, 2, 3))
EXAMPLE = Image.new("RGB", (8, 8), (200, 2, 3))


def asked(*labels, references=()):
    return Question(PICTURE, tuple(Candidate(label, 1 / len(labels), ()) for label in labels), references=references)


def shown(ballot):
    """The ballot as one line: the picture as #, examples as *."""
    marks = {id(PICTURE): "#", id(EXAMPLE): "*"}
    return "".join(part if isinstance(part, str) else marks[id(part)] for part in ballot.parts)


def test_by_names_in_two_opposite_orders():
    """The picture, which both requests share, then the options, listed by name and the other way round."""
    first, second = write_ballots(Asking(), asked("stripes", "polka dots"))
    assert shown(first) == (
        "#\nWhich of these does the picture show?\nA. polka dots\nB. stripes\nAnswer with the letter of one option."
    )
    assert shown(second) == shown(first).replace("A. polka dots\nB. stripes", "A. stripes\nB. polka dots")
    assert first.answers == second.answers == ("A", "B")
    assert (first.stands_for, second.stands_for) == ((1, 0), (0, 1))


def test_the_rank_of_a_candidate_does_not_show():
    """Candidates in another order make the same requests, but for what the letters stand for."""
    one, other = (write_ballots(Asking(), asked(*labels)) for labels in ("xyz", "zxy"))
    assert [shown(ballot) for ballot in one] == [shown(ballot) for ballot in other]
    assert one[0].stands_for == (0, 1, 2)
    assert other[0].stands_for == (1, 2, 0)


def test_by_references_the_repeated_part_comes_first():
    """Options with their pictures first, the picture in question last, so that a prefix can be kept."""
    question = asked("b", "a", references=((EXAMPLE, EXAMPLE), (EXAMPLE,)))
    first, second = write_ballots(Asking("references"), question)
    head, foot = "Which of these does the last picture show?\n", "\n#\nAnswer with the letter of one option."
    assert shown(first) == f"{head}A. a:*\nB. b:**{foot}"
    assert shown(second) == f"{head}A. b:**\nB. a:*{foot}"


def test_in_pairs_one_request_per_example():
    """The picture first, then one example; yes stands for the example's label, no for none."""
    question = asked("b", "a", references=((EXAMPLE, EXAMPLE), (EXAMPLE,)))
    ballots = write_ballots(Asking("pairwise"), question)
    assert {shown(ballot) for ballot in ballots} == {
        "#\n*\nDo both pictures show the same kind of thing? Answer yes or no."
    }
    assert [ballot.stands_for for ballot in ballots] == [(0, NONE), (0, NONE), (1, NONE)]
    assert {ballot.answers for ballot in ballots} == {("yes", "no")}
    for references in ((), ((EXAMPLE,), ())):
        with pytest.raises(ValueError, match="at least one reference"):
            write_ballots(Asking("pairwise"), asked("a", "b", references=references))


def test_none_of_these_is_an_option_more():
    """It is listed last, or first in the opposite order, and stands for no candidate."""
    first, second = write_ballots(Asking(none_option=True), asked("a", "b"))
    assert "A. a\nB. b\nC. none of these\nAnswer" in shown(first)
    assert "A. none of these\nB. b\nC. a\nAnswer" in shown(second)
    assert (first.stands_for, second.stands_for) == ((0, 1, NONE), (NONE, 1, 0))


def test_as_many_options_as_letters():
    """26 is the limit, none is too few, and `none of these` counts."""
    assert shown(write_ballots(Asking(orders=1), asked(*map(str, range(26))))[0]).count("\n") == 28
    for labels, none in (((), False), (tuple(map(str, range(27))), False), (tuple(map(str, range(26))), True)):
        with pytest.raises(ValueError, match="1 to 26"):
            write_ballots(Asking(none_option=none), asked(*labels))


@given(st.integers(1, 26), st.integers(1, 26))
def test_orders(count, orders):
    """Never more than wished for, all different, each a rearrangement; two are opposite, more are cyclic."""
    found = option_orders(range(count), orders)
    assert len(found) == min(orders, max(1, count)) or len(found) == 2
    assert len({tuple(order) for order in found}) == len(found)
    assert all(sorted(order) == list(range(count)) for order in found)
    if orders == 2 and count > 1:
        assert found[1] == found[0][::-1]
    if orders >= 3 and count >= 3:
        turned = found[0] * 2
        assert all(any(turned[i : i + count] == order for i in range(count)) for order in found)


def test_all_cyclic_orders_give_every_option_every_place():
    """With as many orders as options no option is better placed than another."""
    assert {tuple(sorted(places)) for places in zip(*option_orders(range(5), 5))} == {(0, 1, 2, 3, 4)}


def test_placeholders_inside_labels_are_not_filled():
    """A label that looks like a placeholder stays the text it is."""
    text = shown(write_ballots(Asking(orders=1), asked("{image}", "{options}"))[0])
    assert "A. {image}\nB. {options}" in text
    assert text.count("#") == 1


def test_picture_comes_first_without_its_placeholder():
    """A template without {image} puts the picture before the text."""
    assert (
        shown(write_ballots(Asking(orders=1, prompt_template="Choose:\n{options}"), asked("a"))[0]) == "#Choose:\nA. a"
    )


@given(st.text(max_size=200))
def test_labels_are_harmless(label):
    """Whatever a label is: one line, bounded, printable, no control token."""
    escaped = escape_label(label)
    assert len(escaped) <= 80
    assert "\n" not in escaped
    assert "<|" not in escaped
    assert "|>" not in escaped
    assert escaped.isprintable()


@given(st.text(max_size=60))
def test_templates_are_filled_or_refused(template):
    """A template that passes the check can be filled with any label."""
    try:
        check_template(template)
    except ValueError:
        return
    text = shown(write_ballots(Asking(orders=1, prompt_template=template), asked("one label"))[0])
    assert "A. one label" in text
    assert text.count("#") >= 1


@pytest.mark.parametrize(
    ("check", "good", "bad", "reason"),
    [
        (check_references_template, "{options} {image}", "{options}", "{image} is missing"),
        (check_pairwise_template, "{image} {reference} same?", "{image} same?", "{reference} is missing"),
        (check_pairwise_template, "{image}{reference}", "{image}{reference}{options}", "no placeholder"),
        (check_references_template, "{image}{options}", "{image}{image}{options}", "only once"),
    ],
)
def test_the_other_templates_are_checked_too(check, good, bad, reason):
    """What a mode needs must stand in its template, and nothing else."""
    assert check(good) == good
    with pytest.raises(ValueError, match=reason):
        check(bad)


def test_default_template_is_good():
    """The defaults pass their own check."""
    assert check_template(DEFAULT_PROMPT_TEMPLATE) == DEFAULT_PROMPT_TEMPLATE
