"""The map of a server: made when it is asked for, kept, and shown with the labels of now."""

import time
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.discovery.example_map import ExampleMap
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.server.background import mapping as module
from lmm_classifier.server.background.mapping import DatasetMapping, view_of
from tests.helpers.live_server import PATIENCE


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.005)
    return found


@pytest.fixture(scope="module")
def mapped(made_index):
    """A map, and the contents that it was made of."""
    contents = read_index(made_index / "index")
    return ExampleMap.of(Index.open_each(made_index / "index")), contents


def test_a_view_has_all_examples(mapped):
    """Positions in thousandths, labels by their places."""
    made, contents = mapped
    view = view_of(made, contents)
    assert view.is_current
    assert not view.is_sample
    assert list(view.paths) == list(contents.paths)
    assert [view.labels[place] for place in view.records["label"]] == list(contents.labels)
    assert np.abs(view.records["x"] / 1000 - made.positions[:, 0]).max() <= 0.0005
    assert view.records.tobytes() == view_of(made, contents).records.tobytes()
    assert view.tag == view_of(made, contents).tag


def test_a_view_of_a_newer_version_has_its_examples_and_labels(mapped):
    """Those that were removed or replaced are left out."""
    made, contents = mapped
    labels, hashes = [*contents.labels], [*contents.hashes]
    labels[0], hashes[1] = "new", "0" * 64
    view = view_of(
        made, replace(contents, labels=labels[:-1], hashes=hashes[:-1], paths=contents.paths[:-1], stamp="other")
    )
    assert not view.is_current
    assert list(view.paths) == [contents.paths[0], *contents.paths[2:-1]]
    assert view.labels[view.records["label"][0]] == "new"
    assert view.tag != view_of(made, contents).tag


@pytest.fixture
def mapping(client):
    """The making of maps, by a classifier that no test changes."""
    made = DatasetMapping(client.state.classifier)
    yield made
    made.close()


def test_a_failure_is_told_and_not_tried_at_once_again(mapping, monkeypatch, caplog):
    """The log has the details."""

    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(module.ExampleMap, "of", fail)
    assert mapping.view() is None
    wait_for(lambda: mapping.making.state == "failed")
    assert "broken" in caplog.text
    assert "broken" not in mapping.making.error
    assert mapping.view() is None
    assert mapping.making.state == "failed"


def test_closing_ends_it(mapping, monkeypatch):
    """Between two steps; no other one starts."""
    original, begun = module.ExampleMap.of, []

    def slow(indexes, former, progress):
        def report(step):
            begun.append(step)
            wait_for(mapping._stop.is_set)
            progress(step)

        return original(indexes, former, report)

    monkeypatch.setattr(module.ExampleMap, "of", slow)
    mapping.view()
    wait_for(lambda: begun)
    mapping.close()
    assert mapping.making.state == "canceled"
    assert mapping.view() is None
    assert mapping.making.state == "canceled"
