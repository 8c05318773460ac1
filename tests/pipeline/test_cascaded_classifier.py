"""A classifier of several encoders gives an image the same answer in every way of asking, and asks few of them."""

import gc
import itertools
import json
import shutil
import weakref
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.calibration.fusion.cascade import Cascade, Stage
from lmm_classifier.core.errors import (
    EncoderError,
    IndexMismatchError,
)
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.formats import read_index, write_calibration
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder, LayoutEncoder, NoiseEncoder, draw_sides


def new_images(place):
    return sorted((place / "new").rglob("*.png"))


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """A dataset whose labels need both encoders, its calibrated index with a cascade, and new images."""
    root = tmp_path_factory.mktemp("sides")
    draw_sides(root / "dataset")
    draw_sides(root / "new", count=5, seed=1)
    config = cascade_on(root / "index")
    build_index_from_directory(
        root / "dataset", root / "index", config=config, encoder=[ColorEncoder(), LayoutEncoder()]
    )
    calibrate_index(root / "index", config)
    return root


def cascade_on(index, **settings):
    return offline_config(index, rerank__enabled=False, retrieval__cascade=True, **settings)


def test_a_cascade_gives_the_same_answer_in_every_way_of_asking(sides):
    """One by one, together, as files, and from pixels; with neighbors, and the encoders that were asked."""
    config, paths = cascade_on(sides / "index"), new_images(sides)
    with HybridClassifier(config, [ColorEncoder(), LayoutEncoder()]) as classifier:
        one_by_one = [classifier.classify(path) for path in paths]
        assert classifier.classify_many(paths) == one_by_one
        assert list(classifier.classify_paths(paths)) == one_by_one
        pixels = classifier.classify_many([Image.open(path) for path in paths])
    assert [(result.label, result.score, result.candidates) for result in pixels] == [
        (result.label, result.score, result.candidates) for result in one_by_one
    ]
    asked = {result.encoders for result in one_by_one}
    assert asked == {("boxes",), ("boxes", "thumbnail")}
    correct = [result.label == path.parent.name for path, result in zip(paths, one_by_one)]
    assert np.mean(correct) > 0.9
    for result in one_by_one:
        assert {candidate.encoder for candidate in result.candidates} <= set(result.encoders)
        assert all(candidate.neighbors for candidate in result.candidates)
        written = json.loads(result.to_json())
        assert written["encoders"] == list(result.encoders)


def test_a_later_encoder_is_called_only_for_the_images_that_it_is_asked_about(sides):
    """From files their inputs are prepared with the decoding; from pixels not even these."""
    config, paths = cascade_on(sides / "index"), new_images(sides)
    color, layout = ColorEncoder(), LayoutEncoder()
    with HybridClassifier(config, [color, layout]) as classifier:
        results = list(classifier.classify_paths(paths))
        asked = sum("thumbnail" in result.encoders for result in results)
        assert 0 < asked < len(paths)
        assert (color.encoded, layout.encoded) == (len(paths), asked)
        classifier.classify_many(paths)
        assert (color.encoded, layout.encoded) == (2 * len(paths), 2 * asked)
        assert layout.preprocessed == len(paths) + asked
        for path, result in zip(paths, results):
            before = layout.encoded
            classifier.classify(path)
            assert layout.encoded - before == ("thumbnail" in result.encoders)


def test_an_image_that_a_later_encoder_refuses_is_answered_by_the_first(sides, caplog):
    """No image is lost, and the log says why."""
    config, paths = cascade_on(sides / "index"), new_images(sides)
    images = [Image.open(path) for path in paths]
    with HybridClassifier(config, [ColorEncoder(), LayoutEncoder()]) as classifier:
        expected = classifier.classify_many(images)
    unsure = next(number for number, result in enumerate(expected) if "thumbnail" in result.encoders)
    images[unsure] = images[unsure].resize((48, 48), Image.Resampling.NEAREST)
    with HybridClassifier(config, [ColorEncoder(), LayoutEncoder(refused=[(48, 48)])]) as classifier:
        many, alone = classifier.classify_many(images), classifier.classify(images[unsure])
    assert many[unsure].encoders == alone.encoders == ("boxes",)
    assert many[unsure].candidates == alone.candidates != ()
    assert [result.encoders for result in many[unsure + 1 :]] == [result.encoders for result in expected[unsure + 1 :]]
    assert caplog.text.count("An image cannot be encoded by thumbnail: thumbnail refuses this image") == 2


def test_an_image_that_the_first_encoder_refuses_is_unreadable(sides, tmp_path):
    """Among several images, as among files; the others are answered. Alone, and not as a file, it is an error."""
    Image.new("RGB", (48, 48), "red").save(tmp_path / "refused.png")
    paths = [*sorted((sides / "new").rglob("*.png"))[:2], tmp_path / "refused.png", tmp_path / "missing.png"]
    with HybridClassifier(
        cascade_on(sides / "index"), [ColorEncoder(refused=[(48, 48)]), LayoutEncoder()]
    ) as classifier:
        many = classifier.classify_many(paths)
        assert many == list(classifier.classify_paths(paths))
        assert [result.decision.reason == "unreadable" for result in many] == [False, False, True, True]
        assert many[2].error == "boxes refuses this image"
        assert classifier.classify_many(paths[2:3])[0] == many[2]
        with pytest.raises(EncoderError, match="boxes refuses this image"):
            classifier.classify(paths[2])


def test_some_encoders_of_an_index_or_another_order_are_enough(sides, caplog):
    """The calibration is of all of them, so the rule is fitted on opening; one that the index lacks is refused."""
    config, paths = cascade_on(sides / "index"), new_images(sides)
    with HybridClassifier(config, LayoutEncoder()) as classifier:
        assert classifier.classify(paths[0]).encoders == ()
        assert classifier.index.fingerprint == LayoutEncoder.fingerprint
    assert "is of the encoders boxes, thumbnail, but configured are thumbnail." in caplog.text
    with HybridClassifier(config, [LayoutEncoder(), ColorEncoder()]) as classifier:
        results = classifier.classify_many(paths)
    assert {result.encoders for result in results} <= {("thumbnail",), ("thumbnail", "boxes")}
    assert "but configured are thumbnail, boxes." in caplog.text
    with pytest.raises(IndexMismatchError, match="was built by the encoders color:boxes.*noise"):
        HybridClassifier(config, [ColorEncoder(), NoiseEncoder()])


def test_a_new_calibration_may_ask_other_encoders_while_files_are_classified(sides, tmp_path):
    """Whatever was prepared for a batch, each image is answered by the calibration in use."""
    index = shutil.copytree(sides / "index", tmp_path / "index")
    config, paths = cascade_on(index, images__threads=1), new_images(sides)
    config.encoder.batch_size = 2
    with HybridClassifier(config, [ColorEncoder(), LayoutEncoder()]) as classifier:
        stored = classifier.retriever.stored
        reversed_ = Cascade(
            (Stage((1,), stored.cascade.stages[0].fusion, 0.9), Stage((1, 0), stored.cascade.stages[1].fusion))
        )
        results = classifier.classify_paths(paths)
        first = next(results)
        assert first.encoders[0] == "boxes"
        contents = read_index(index)
        write_calibration(index, contents, replace(stored, cascade=reversed_).to_arrays(contents))
        later = [first, *results]
        assert [result.path for result in later] == list(map(str, paths))
        again = classifier.classify_many(paths)
    assert {result.encoders[0] for result in later[2:]} == {"thumbnail"}
    assert later[2:] == again[2:]


@pytest.mark.long
def test_a_stream_of_files_keeps_no_former_version_in_memory(sides, tmp_path):
    """However long it runs."""
    index = shutil.copytree(sides / "index", tmp_path / "index")
    config = cascade_on(index, images__threads=1)
    config.encoder.batch_size = 2
    with HybridClassifier(config, [ColorEncoder(), LayoutEncoder()]) as classifier:
        results = classifier.classify_paths(new_images(sides))
        next(results)
        gc.collect()
        former = weakref.ref(classifier.retriever)
        classifier.editor().relabel(["red/00.png"], "green")
        list(itertools.islice(results, 12))
        gc.collect()
        assert former() is None
        results.close()


def test_the_editor_of_a_classifier_adds_a_vector_of_each_encoder(sides, tmp_path):
    """The added image counts from the next one on."""
    index = shutil.copytree(sides / "index", tmp_path / "index")
    with HybridClassifier(cascade_on(index), [LayoutEncoder(), ColorEncoder()]) as classifier:
        image = Image.effect_noise((16, 16), 30).convert("RGB")
        report = classifier.editor().add([image], "gray")
        assert len(report.changes.added) == 1
        result = classifier.classify(image)
        assert result.label == "gray"
    assert [len(each.vectors()) for each in Index.open_each(index)] == [41, 41]


@pytest.mark.long
def test_augmented_views_are_scored_by_the_cascade(sides):
    """The reranker asks as retrieval does, and improves nothing here; every image has an answer."""
    config = offline_config(sides / "index", retrieval__cascade=True, retrieval__confidence_threshold=1.0)
    config.set("rerank.gate.mode=threshold")
    config.set("retrieval.open_set_threshold=-1")
    with HybridClassifier(config, [ColorEncoder(), LayoutEncoder()]) as classifier:
        results = classifier.classify_many(new_images(sides)[::3])
    assert {result.decision.reason for result in results} == {"reranked"}
    assert all(result.used_reranker and 0 < result.score <= 1 for result in results)
