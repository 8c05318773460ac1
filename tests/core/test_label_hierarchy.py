"""A hierarchy of labels: every fault is named, YAML is read back exactly, and each level adds up to 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.label_hierarchy import LabelHierarchy, hierarchy_of_pairs, read_hierarchy

CLOTHES = LabelHierarchy({"shirt": ("body", "tops"), "tee": ("body", "tops"), "skirt": ("body",), "hat": ()})
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zs", "Mn"]), min_size=1, max_size=6)


@st.composite
def hierarchies(draw):
    """Coarse labels `c<depth> <number>`, each below one of the depth before; labels below any of them."""
    widths = draw(st.lists(st.integers(1, 3), max_size=3))
    ways = [()]
    for depth, width in enumerate(widths):
        parents = [way for way in ways if len(way) == depth]
        ways += [(*parents[draw(st.integers(0, len(parents) - 1))], f"c{depth} {number}") for number in range(width)]
    count = draw(st.integers(1, 12))
    return LabelHierarchy({f"l{label}": ways[draw(st.integers(0, len(ways) - 1))] for label in range(count)})


@given(hierarchies(), st.integers(0, 10**6), st.integers(1, 5))
def test_the_probabilities_of_a_level_sum_to_1(hierarchy, seed, count):
    """And what is above the best label is never less sure on a coarser level; neither depends on the batch."""
    labels = sorted(hierarchy.above)
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(len(labels)), count)
    former = probabilities.max(axis=1)
    for level in hierarchy.levels(labels):
        sums = level.probabilities(probabilities)
        assert np.allclose(sums.sum(axis=1), 1)
        assert (sums.max(axis=1) >= former - 1e-12).all()
        former = sums.max(axis=1)
        single = [level.probabilities(probabilities[row : row + 1])[0] for row in range(count)]
        assert np.array_equal(sums, single)


@given(hierarchies(), st.integers(0, 10**6))
def test_a_level_answers_coarse_labels_alone(hierarchy, seed):
    """Its best name has the depth of the level, and its probability is that of the labels below it."""
    labels = sorted(hierarchy.above)
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(len(labels)), 4)
    for level in hierarchy.levels(labels):
        best, probability = level.best(probabilities)
        for row in np.flatnonzero(best >= 0):
            name = level.names[best[row]]
            assert len(hierarchy.path(name)) == level.depth
            below = [labels.index(label) for label in hierarchy.labels_below(name)]
            assert np.isclose(probability[row], probabilities[row, below].sum())
        for row, label in enumerate(probabilities.argmax(axis=1)):
            above = hierarchy.above[labels[label]]
            stands = len(above) >= level.depth
            assert (best[row] >= 0) == stands
            assert not stands or level.names[best[row]] == above[level.depth - 1]


def test_a_coarse_label_stands_above_the_best_label():
    """Even where another one has a larger sum: so a wrong coarse answer is a wrong label."""
    labels = ["cat", "collie", "poodle", "spaniel"]
    (level,) = LabelHierarchy({"cat": ("cats",), **dict.fromkeys(labels[1:], ("dogs",))}).levels(labels)
    best, probability = level.best(np.array([[0.28, 0.24, 0.24, 0.24], [0.1, 0.5, 0.2, 0.2]]))
    assert [level.names[name] for name in best] == ["cats", "dogs"]
    assert np.allclose(probability, [0.28, 0.9])


def test_many_labels_are_added_up_alike_in_any_batch():
    """Also where sums of many numbers could be split differently."""
    for groups in (1, 2, 9, 130):
        labels = [f"l{number:04}" for number in range(1500)]
        (level,) = LabelHierarchy({label: (f"c{number % groups}",) for number, label in enumerate(labels)}).levels(
            labels
        )
        probabilities = np.random.default_rng(0).dirichlet(np.ones(len(labels)), 20)
        whole = level.probabilities(probabilities)
        assert np.array_equal(whole[7:8], level.probabilities(probabilities[7:8]))
        assert np.array_equal(whole[3:11], level.probabilities(np.asfortranarray(probabilities)[3:11]))


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=3).map(tuple), max_size=6))
def test_yaml_is_read_back_exactly(tmp_path_factory, above):
    """For any names; what is no hierarchy is refused, and never read as another one."""
    try:
        hierarchy = hierarchy_of_pairs(above.items())
    except ConfigError:
        return
    path = tmp_path_factory.mktemp("yaml") / "tree.yaml"
    path.write_text(hierarchy.to_yaml(), encoding="utf-8")
    assert read_hierarchy(path) == hierarchy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [b, c]\nd: [b]", "the labels 'b' stand in it twice"),
        ("a: [a]", "'a' stands above itself"),
        ("x: {a: [b]}\ny: {a: [c]}", "the coarse label 'a' stands below 'x' and 'y'"),
        ("a: [b]\nc: [d, a]", "'a' is both a label and a coarse label"),
        ("a: 3", "expected labels below 'a'"),
        ("a: {}", "expected labels below 'a'"),
        ("a: [[b]]", "expected names of labels below a"),
        ("a: ['']", "'' is no label"),
        ("a: [b, ~]", "expected names|is no label|twice"),
        ("[a]", "expected `key: value` lines"),
        ("a: [b]\na: [c]", "the key 'a' appears twice"),
        ("a: &x [b]\nc: *x", "not plain YAML"),
    ],
)
def test_what_is_no_hierarchy_is_refused(tmp_path, text, message):
    """The message names the file and the fault."""
    (tmp_path / "tree.yaml").write_text(text)
    if text == "a: [b, ~]":  # a label may have this name
        assert "~" in read_hierarchy(tmp_path / "tree.yaml").above
        return
    with pytest.raises(ConfigError, match=message) as caught:
        read_hierarchy(tmp_path / "tree.yaml")
    assert "tree.yaml" in str(caught.value)


def test_every_fault_is_named():
    """Not the first one alone; a file that cannot be read is one too."""
    with pytest.raises(ConfigError, match="'a' is both.*'c' is both"):
        LabelHierarchy({"a": (), "b": ("a",), "c": (), "d": ("c",)})
    with pytest.raises(ConfigError, match="Cannot read the hierarchy missing.yaml"):
        read_hierarchy("missing.yaml")


def test_words_of_yaml_are_labels(tmp_path):
    """As everywhere in the settings: a label is what is written."""
    (tmp_path / "tree.yaml").write_text("a: [no, 010, true, 2024-01-01]\nb:\nc: {d: , e: [f]}\n")
    above = read_hierarchy(tmp_path / "tree.yaml").above
    assert above == {
        "no": ("a",),
        "010": ("a",),
        "true": ("a",),
        "2024-01-01": ("a",),
        "b": (),
        "d": ("c",),
        "f": ("c", "e"),
    }


def test_labels_that_are_not_in_it_stand_at_the_root():
    """A note says so, and so it does for names without examples and for coarse labels that are labels."""
    own = CLOTHES.of_labels(["shirt", "hat", "lamp", "tops"])
    assert own.above == {"shirt": ("body",), "hat": (), "lamp": (), "tops": ()}
    notes = CLOTHES.notes(["shirt", "hat", "lamp", "tops", "Body"])
    assert notes == [
        "no examples have the labels 'skirt', 'tee'",
        "the labels 'Body', 'lamp' are not in it, so they stand at the root",
        "'tops' are labels with examples, so they are not used as coarse labels",
        "'Body' and 'body' can hardly be told apart",
    ]
    assert CLOTHES.notes(CLOTHES.above) == []


def test_a_renamed_label_keeps_its_place():
    """Unless the new name stands somewhere already."""
    renamed = CLOTHES.renamed({"shirt": "blouse", "tee": "hat", "skirt": "tops", "lamp": "light"})
    assert renamed.above == {**CLOTHES.above, "blouse": ("body", "tops")}


def test_ways_through_it():
    """From the root to labels and coarse labels, and down again."""
    assert CLOTHES.path("tops") == ("body", "tops")
    assert CLOTHES.path("shirt") == ("body", "tops", "shirt")
    assert CLOTHES.path("lamp") == ("lamp",)
    assert CLOTHES.labels_below("body") == ["shirt", "skirt", "tee"]
    assert [level.depth for level in CLOTHES.levels(["hat", "shirt"])] == [2, 1]
    assert LabelHierarchy({}).levels(["a"]) == []
