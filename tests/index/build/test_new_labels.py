"""A new label that cannot be told from another one is refused; those that an index has are taken as they are."""

import logging

import numpy as np
import pytest

from lmm_classifier.core.errors import ConfigError, DatasetError
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.corrections import Correction, apply_corrections
from lmm_classifier.index.build.new_labels import check_new
from lmm_classifier.pipeline.classifier import HybridClassifier


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("red ", r"'red ' has white space at its beginning or end, which cannot be seen. The index has 'red'"),
        ("re\u200bd", r"'re\\u200bd' has the character U\+200B, which cannot be seen. The index has 'red'"),
        ("blue\u202e", r"'blue\\u202e' has the character U\+202E, which cannot be seen. Write 'blue'"),
        ("odd one", r"'odd one' looks the same as another one. The index has 'odd \\xa0one': use that one, or rename"),
    ],
)
def test_what_looks_the_same_is_refused(name, message):
    """The message shows the escapes, and names the label that is there."""
    with pytest.raises(DatasetError, match=message):
        check_new([name], ["red", "odd \u00a0one"])


def test_two_new_labels_that_look_the_same_are_refused():
    """One call may bring both."""
    with pytest.raises(DatasetError, match="looks the same"):
        check_new(["a b", "a\u00a0b"], [])


def test_the_labels_of_an_index_are_taken_as_they_are(caplog):
    """A folder may have any name."""
    check_new(["odd  one", "\u202ex"], ["odd  one", "\u202ex", "\u202ex "])
    assert not caplog.records


def test_another_case_is_a_warning(caplog):
    """It may be meant."""
    with caplog.at_level(logging.WARNING):
        check_new(["Red", "\uff52ed"], ["red"])
    assert len(caplog.records) == 2


def image(seed=0, label="argyle"):
    return draw(label, np.random.default_rng(seed), 48)


@pytest.mark.long
@pytest.mark.parametrize("name", ["unknown", "Unknown", "UNKNOWN "])
def test_no_label_may_be_that_of_unknown_images(editor, config, dataset, name):
    """Wherever a label comes in: build, sync, add, relabel, opening. Another unknown_label makes it free."""
    with pytest.raises(DatasetError, match="cannot be told from unknown_label"):
        editor.add([image()], name)
    with pytest.raises(DatasetError, match="cannot be told from unknown_label"):
        editor.relabel(["stripes/00.png"], name)
    (dataset / "stripes").rename(dataset / name)
    with pytest.raises(DatasetError, match=f"dataset {dataset}: The label '{name}' cannot be told"):
        editor.sync()
    with pytest.raises(DatasetError, match="Rename the label, or set unknown_label"):
        build_index_from_directory(dataset, config.retrieval.index_path, config=config)
    other = config.model_copy(deep=True)
    other.unknown_label = "none"
    assert name in build_index_from_directory(dataset, config.retrieval.index_path, config=other).indexed
    HybridClassifier(other)
    with pytest.raises(ConfigError, match="cannot be told from unknown_label"):
        HybridClassifier(config)


def test_labels_are_stored_in_one_normal_form(editor):
    """An accent that is a character of its own makes no other label."""
    editor.add([image()], "cafe\u0301")
    editor.relabel(["stripes/00.png"], "cafe\u0301")
    assert len(editor.examples_of("caf\u00e9")) == len(editor.examples_of("cafe\u0301")) == 2


def test_a_new_label_that_looks_like_another_is_named(editor, dataset, caplog):
    """When it is given, and in the report of the next sync."""
    editor.add([image()], "Stripes")
    assert "The label 'Stripes' is new, and the index has 'stripes': is that the same?" in caplog.text
    warnings = editor.sync().warnings
    named = [warning.partition(" differ only in case")[0] for warning in warnings if " differ only" in warning]
    assert named == ["the labels 'Stripes', 'stripes'"]


def test_a_new_label_that_looks_the_same_is_refused(editor, dataset):
    """By every edit that gives one. A folder may be called so, and then its label can be used and renamed."""
    for label, message in (("gingham ", "The index has 'gingham'"), ("stripe\u200bd", "Write 'striped'")):
        with pytest.raises(DatasetError, match=message):
            editor.add([image()], label)
        with pytest.raises(DatasetError, match=message):
            editor.relabel(["gingham/00.png"], label)
        with pytest.raises(DatasetError, match=message):
            editor.rename_label("herringbone", label)
        with pytest.raises(DatasetError, match=message):
            apply_corrections(editor.path, [Correction("gingham/00.png", "relabel", label, 2)])
    (dataset / "herringbone").rename(dataset / "herringbone  ")
    editor.sync()
    odd = editor.examples_of("herringbone  ")
    editor.relabel(["gingham/00.png"], "herringbone  ")
    with pytest.raises(DatasetError, match="The index has 'herringbone  ': use that one, or rename it"):
        editor.relabel(odd, "herringbone")
    editor.rename_label("herringbone  ", "herringbone")
    assert editor.examples_of("herringbone") == sorted(["gingham/00.png", *odd])
