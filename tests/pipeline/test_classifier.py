"""The classifier gives an image the same answer in every way of asking, with neighbors that exist."""

import copy
import json
import multiprocessing
import pickle
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import (
    ClosedError,
    ConfigError,
    ImageError,
    ImageInputError,
    IndexFileError,
    IndexMismatchError,
    NoSuchLabelError,
    VectorError,
)
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.stages.answer_options import AnswerOptions
from tests.helpers.datasets import LABELS, draw_dataset, offline_config
from tests.helpers.encoders import ColorEncoder, LayoutEncoder, draw_sides


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A dataset, its calibrated index, and new images of the same labels."""
    root = tmp_path_factory.mktemp("classifier")
    draw_dataset(root / "dataset", count=8)
    draw_dataset(root / "new", count=5, seed=1)
    build_index_from_directory(root / "dataset", root / "index.npz", config=PipelineConfig.offline())
    calibrate_index(root / "index.npz", PipelineConfig.offline())
    return root


@pytest.fixture
def config(place):
    """The offline configuration without a reranker, which never rejects an image."""
    return offline_config(place / "index.npz", rerank__enabled=False, retrieval__open_set_threshold=-1.0)


def new_images(place):
    return sorted((place / "new").rglob("*.png"))


def test_most_new_images_are_classified_correctly(place, config):
    """Four patterns with eight examples each: far above chance, with results in the order of the paths."""
    paths = new_images(place)
    results = list(HybridClassifier(config).classify_paths(paths))
    assert [result.path for result in results] == [str(path) for path in paths]
    correct = sum(result.label == path.parent.name for path, result in zip(paths, results))
    assert correct >= 16  # of 20; chance is 5


def test_an_image_gets_the_same_result_alone_among_many_and_from_its_file(place, config):
    """All three functions lead to the same answer; nothing to classify gives nothing."""
    classifier = HybridClassifier(config)
    path = new_images(place)[3]
    image = Image.open(path)
    alone = classifier.classify(image)
    many = classifier.classify_many([Image.new("L", (9, 9)), image, image])
    (from_file,) = classifier.classify_paths([path])
    for result in (many[1], many[2], from_file):
        assert result.candidates == alone.candidates
        assert (result.label, result.score, result.decision) == (alone.label, alone.score, alone.decision)
    assert classifier.classify_many([]) == []
    assert list(classifier.classify_paths([])) == []


@pytest.fixture(scope="module")
def expected(place):
    """Results in batches of the default size, some of them reranked."""
    config = offline_config(
        place / "index.npz", retrieval__open_set_threshold=-1.0, retrieval__confidence_threshold=0.9999
    )
    results = {result.path: result for result in HybridClassifier(config).classify_paths(new_images(place)[::2])}
    assert any(result.used_reranker for result in results.values())
    return results


@pytest.mark.parametrize(
    ("batch_size", "threads"),
    [(3, 1), pytest.param(1, 2, marks=pytest.mark.long), pytest.param(64, 2, marks=pytest.mark.long)],
)
def test_results_do_not_depend_on_batches_order_or_threads(place, config, expected, batch_size, threads):
    """They are the same bit for bit, also where the reranker was asked."""
    config.rerank.enabled = True
    config.retrieval.confidence_threshold = 0.9999
    config.encoder.batch_size, config.images.threads = batch_size, threads
    paths = new_images(place)[::2]
    random.Random(batch_size).shuffle(paths)
    for result in HybridClassifier(config).classify_paths(paths):
        assert result == expected[result.path]


def test_neighbors_are_files_of_the_dataset(place, config):
    """They have the label of their candidate, the nearest comes first, and a result is JSON."""
    for result in HybridClassifier(config).classify_paths(new_images(place)):
        neighbors = [neighbor for candidate in result.candidates for neighbor in candidate.neighbors]
        assert result.similarity == max(neighbor.similarity for neighbor in neighbors)
        assert sum(candidate.score for candidate in result.candidates) <= 1 + 1e-9
        for candidate in result.candidates:
            assert 1 <= len(candidate.neighbors) <= 3
            similarities = [neighbor.similarity for neighbor in candidate.neighbors]
            assert similarities == sorted(similarities, reverse=True)
            for neighbor in candidate.neighbors:
                assert neighbor.example.label == candidate.label
                assert (place / "dataset" / neighbor.example.path).is_file()
        json.loads(result.to_json())


def test_examples_with_the_content_of_the_query_can_be_left_out(place, config):
    """An image of the dataset finds itself, and does not when its own bytes are left out."""
    path = place / "dataset" / "stripes" / "00.png"
    classifier = HybridClassifier(config)
    (with_itself,) = classifier.classify_paths([path])
    (without_itself,) = classifier.classify_paths([path], leave_out_identical=True)
    assert with_itself.similarity == pytest.approx(1, abs=1e-5)
    assert without_itself.similarity < 0.99
    neighbors = [neighbor for candidate in without_itself.candidates for neighbor in candidate.neighbors]
    assert all(neighbor.example.path != "stripes/00.png" for neighbor in neighbors)


def test_an_unreadable_file_gets_a_result_in_its_place(place, config, tmp_path):
    """The result says `unreadable` and why; the other files are classified as always."""
    good = new_images(place)[0]
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    paths = [good, tmp_path / "cut.jpg", tmp_path / "missing.png", good, tmp_path]
    results = list(HybridClassifier(config).classify_paths(map(str, paths)))
    assert [result.decision.reason == "unreadable" for result in results] == [False, True, True, False, True]
    assert results[0].label == results[3].label
    for result in (results[1], results[2]):
        assert result.is_unknown
        assert result.label == "unknown"
        assert result.path.rpartition("/")[2] in result.error


def test_only_a_few_paths_are_read_ahead(place, config):
    """Paths are taken while results are taken, so that a folder may have any size."""
    config.encoder.batch_size = 2
    config.images.threads = 1
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield new_images(place)[0]

    stream = HybridClassifier(config).classify_paths(endless())
    for _ in range(3):
        next(stream)
    stream.close()
    assert len(taken) < 40


def test_a_closed_set_restricts_labels_and_gives_one_always(place, config):
    """`labels` restricts answers and neighbors; without `allow_unknown` some label is always given."""
    config.labels = ["stripes", "gingham"]
    config.allow_unknown = False
    config.retrieval.open_set_threshold = 1.0
    config.retrieval.confidence_threshold = 0.0
    results = list(HybridClassifier(config).classify_paths(new_images(place)))
    assert {result.label for result in results} <= {"stripes", "gingham"}
    assert {candidate.label for result in results for candidate in result.candidates} <= {"stripes", "gingham"}
    assert {result.decision.reason for result in results} == {"forced"}
    config.labels = ["strpes"]
    with pytest.raises(ConfigError, match="'strpes' not in the index"):
        HybridClassifier(config)


def test_thresholds_are_inclusive(place, config):
    """A value equal to its threshold passes, the next smaller one does not."""
    image = Image.open(new_images(place)[0])
    config.retrieval.confidence_threshold = 0.0
    result = HybridClassifier(config).classify(image)
    for key, value, passed, failed in [
        ("open_set_threshold", result.similarity, "confident", "novel"),
        ("familiarity_threshold", result.familiarity, "confident", "novel"),
        ("confidence_threshold", result.score, "confident", "ambiguous"),
    ]:
        changed = config.model_copy(deep=True)
        changed.rerank.enabled = False
        if key == "familiarity_threshold":
            changed.retrieval.open_set_threshold = None
        setattr(changed.retrieval, key, value)
        assert HybridClassifier(changed).classify(image).decision.reason == passed
        setattr(changed.retrieval, key, float(np.nextafter(value, 2)))
        assert HybridClassifier(changed).classify(image).decision.reason == failed


def test_images_of_any_mode_are_accepted_and_not_changed(place, config):
    """An image in memory is treated as a file is."""
    image = draw("stripes", np.random.default_rng(3), 96)
    classifier = HybridClassifier(config)
    expected = classifier.classify(image)
    alpha = image.convert("RGBA")
    assert classifier.classify(alpha).candidates == expected.candidates
    assert alpha.mode == "RGBA"
    assert classifier.classify(image.convert("L")).label in LABELS


def test_a_missing_index_and_one_of_another_encoder_are_refused(place, config, tmp_path):
    """The error names the command that builds one, or both encoders."""
    config.retrieval.index_path = tmp_path / "none.npz"
    with pytest.raises(IndexFileError, match="lmm-classifier build"):
        HybridClassifier(config)
    config.retrieval.index_path = place / "index.npz"

    class Other(type(HybridClassifier(config).encoders[0])):
        @property
        def fingerprint(self):
            return replace(super().fingerprint, revision="9")

    with pytest.raises(IndexMismatchError, match="revision.*descriptor:descriptor@9"):
        HybridClassifier(config, encoder=Other())


def test_an_index_of_another_backend_is_refused_before_anything_is_loaded(config):
    """Without the right configuration no download begins: the index is checked first."""
    wrong = PipelineConfig()
    wrong.retrieval.index_path = config.retrieval.index_path
    wrong.encoder.model = "nobody/nothing"
    with pytest.raises(IndexMismatchError, match="descriptor:descriptor@1.*backend is 'transformers'"):
        HybridClassifier(wrong)


def test_restricted_to_some_labels_their_images_stay_familiar(place, config):
    """Familiarity is fitted again among these labels, in a space that was fitted to all of them."""
    config.labels = ["stripes", "polka_dots"]
    config.retrieval.open_set_threshold = None
    config.rerank.enabled = False
    paths = [path for path in new_images(place) if path.parent.name in config.labels]
    results = list(HybridClassifier(config).classify_paths(paths))
    assert sum(result.is_unknown for result in results) <= 3  # of 10
    assert {result.label for result in results} <= {*config.labels, "unknown"}


def test_a_changed_index_is_followed(place, tmp_path):
    """An example added through the editor is found by the next image; thresholds and policy are of the new version."""
    draw_dataset(tmp_path / "dataset", count=4, size=48)
    draw("argyle", np.random.default_rng(0), 48).save(tmp_path / "argyle.png")
    build_index_from_directory(tmp_path / "dataset", tmp_path / "index", config=PipelineConfig.offline())
    classifier = HybridClassifier(offline_config(tmp_path / "index", rerank__enabled=False))
    former = classifier.thresholds
    classifier.editor().add([tmp_path / "argyle.png"], "argyle")
    assert "argyle" in classifier.index.label_names
    assert classifier.thresholds is not former
    assert classifier.policy.thresholds is classifier.thresholds
    assert classifier.retriever.index is classifier.index
    assert classifier.reranker is classifier.reranker_benefit is None


def test_every_kind_of_input_gets_the_same_result(place, config):
    """A path, bytes, an array and a Pillow image lead to the answer of the file; only a path has a path."""
    path = new_images(place)[3]
    with HybridClassifier(config) as classifier:
        (expected,) = classifier.classify_paths([path])
        array = np.asarray(Image.open(path).convert("RGB"))
        inputs = [path, str(path), path.read_bytes(), array, array.astype(np.uint16) * 257, array / 255]
        many = classifier.classify_many(inputs)
        for value, result in zip(inputs, many):
            assert result == classifier.classify(value)
            assert (result.label, result.score, result.candidates) == (
                expected.label,
                expected.score,
                expected.candidates,
            )
            assert result.path == (str(path) if isinstance(value, Path | str) else None)
            assert result.content_hash == (expected.content_hash if isinstance(value, Path | str | bytes) else None)
        assert classifier.classify_many(np.stack([array, array]))[1].candidates == expected.candidates


def test_a_bad_image_raises_alone_and_stops_nothing_among_many(place, config):
    """`classify` raises its error; `classify_many` gives a result, as `classify_paths` does."""
    good = new_images(place)[0]
    bad = ["missing.png", b"no image", np.zeros((0, 0), np.uint8), np.full((2, 2), 9.0), Image.new("RGB", (0, 3))]
    with HybridClassifier(config) as classifier:
        for value in bad:
            with pytest.raises(ImageError):
                classifier.classify(value)
        results = classifier.classify_many([good, *bad, good])
        assert [result.decision.reason for result in results[1:-1]] == ["unreadable"] * 5
        assert all(result.error and result.is_unknown for result in results[1:-1])
        assert results[1].path == "missing.png"
        assert results[0] == results[-1] == classifier.classify(good)
        assert [result.decision.reason for result in classifier.classify_many(bad[:1])] == ["unreadable"]


def test_what_cannot_be_an_image_is_refused_before_any_work(place, config):
    """One image where several are expected, several where one is, and other types."""
    with HybridClassifier(config) as classifier:
        for call, value in [
            (classifier.classify, None),
            (classifier.classify, [new_images(place)[0]]),
            (classifier.classify_many, str(new_images(place)[0])),
            (classifier.classify_many, [new_images(place)[0], 3]),
            (classifier.classify_many, np.zeros((5, 5, 3), np.uint8)),
            (classifier.classify_paths, str(new_images(place)[0])),
            (classifier.classify_paths, new_images(place)[0]),
        ]:
            with pytest.raises(ImageInputError):
                call(value)


@pytest.mark.parametrize("given", [None, 7, b"bytes", "a.png", [b"bytes"], [None]], ids=repr)
def test_only_paths_are_classified_as_paths(place, config, given):
    """The message says what came instead, and what takes other images."""
    with pytest.raises(ImageInputError, match="Expected"):
        list(HybridClassifier(config).classify_paths(given))


def test_a_closed_classifier_can_only_be_closed(place, config):
    """`with` closes it; every use then is one error of ours, and a given encoder stays open."""
    encoder = open_encoder(config.encoder)
    with HybridClassifier(config, encoder) as classifier:
        classifier.classify(new_images(place)[0])
    classifier.close()
    classifier.close()
    uses = [
        lambda: classifier.classify(new_images(place)[0]),
        lambda: classifier.classify_many([]),
        lambda: classifier.classify_many([new_images(place)[0]]),
        lambda: classifier.classify_paths([new_images(place)[0]]),
        classifier.editor,
        lambda: classifier.index,
        lambda: classifier.encoders,
        lambda: classifier.reranker,
        classifier.__enter__,
        lambda: pickle.dumps(classifier),
        lambda: copy.deepcopy(classifier),
    ]
    for use in uses:
        with pytest.raises(ClosedError, match="This classifier is closed"):
            use()
    assert HybridClassifier(config, encoder).classify(new_images(place)[0]).label


def test_closing_gives_back_the_files_of_the_index(place, tmp_path):
    """A durable index and its answers can be moved or deleted afterwards; no handle stays open."""
    build_index_from_directory(place / "dataset", tmp_path / "index", config=PipelineConfig.offline())
    classifier = HybridClassifier(offline_config(tmp_path / "index"))
    classifier.classify(new_images(place)[0])
    results = classifier.classify_paths(new_images(place)[:1])
    next(results)
    classifier.close()
    results.close()
    handles = Path("/proc/self/fd")
    links = [link.readlink() for link in handles.iterdir() if link.is_symlink()] if handles.is_dir() else []
    assert [link for link in links if link.is_relative_to(tmp_path)] == []
    mapped = Path("/proc/self/maps")
    assert not mapped.is_file() or str(tmp_path) not in mapped.read_text()


def test_copies_open_the_index_again(place, config, monkeypatch):
    """By pickle and by copy, with relative paths, and also after the program went to another folder."""
    monkeypatch.chdir(place)
    config.retrieval.index_path = Path("index.npz")
    path = new_images(place)[3]
    with HybridClassifier(config) as classifier:
        monkeypatch.chdir("/")
        expected = classifier.classify(path)
        for other in (pickle.loads(pickle.dumps(classifier)), copy.deepcopy(classifier)):
            with other:
                assert other.index is not classifier.index
                assert other.classify(path) == expected
        assert classifier.classify(path) == expected


@pytest.mark.long
def test_a_durable_index_is_followed_from_another_folder(place, tmp_path, monkeypatch):
    """A relative index path is the one of the folder where the classifier was opened."""
    monkeypatch.chdir(tmp_path)
    build_index_from_directory(place / "dataset", "index", config=PipelineConfig.offline())
    with HybridClassifier(offline_config(Path("index"))) as classifier:
        monkeypatch.chdir(place)
        editor = IndexEditor(tmp_path / "index", PipelineConfig.offline())
        editor.remove(editor.examples_of("stripes"))
        assert "stripes" not in classifier.index.label_names
        classifier.editor().remove(editor.examples_of("gingham"))
        assert "gingham" not in classifier.index.label_names


@pytest.mark.long
def test_a_pool_of_new_processes_classifies(place, config):
    """With `spawn`, each process opens the classifier that it is sent, and gives the same answers."""
    paths = new_images(place)[:4]
    with HybridClassifier(config) as classifier:
        expected = classifier.classify_many(paths)
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            assert pool.map(classifier.classify, paths) == expected


def without_file(result):
    """A result as it is for a vector, which has no file."""
    return replace(result, path=None, content_hash=None)


def test_vectors_get_the_answer_of_their_images(place, config):
    """Bit for bit those of `classify`, alone and in any batch, with and without an encoder for images."""
    encoder = open_encoder(config.encoder)
    images = [Image.open(path).convert("RGB") for path in new_images(place)]
    vectors = encoder.encode([encoder.preprocess(image) for image in images])
    with HybridClassifier(config, encoder) as classifier:
        expected = [without_file(classifier.classify(image)) for image in images]
        assert classifier.classify_vectors(vectors) == expected
        assert classifier.classify_vectors(vectors[3:4]) == expected[3:4]
        assert classifier.classify_vectors(vectors.astype(np.float64)) == expected
        assert classifier.classify_vectors([]) == []
        options = AnswerOptions(["stripes"], allow_unknown=False)
        assert {result.label for result in classifier.classify_vectors(vectors, options)} == {"stripes"}
    config.set("encoder.backend=vectors")
    with HybridClassifier(config) as classifier:
        assert classifier.classify_vectors(vectors) == expected
        assert [encoder.fingerprint for encoder in classifier.encoders] == [classifier.index.fingerprint]
        with pytest.raises(ConfigError, match="there is no encoder for images"):
            list(classifier.classify_paths(new_images(place)))


def test_vectors_never_reach_the_reranker(place):
    """Labels that compete stay ambiguous; the preset opens no reranker at all."""
    config = offline_config(place / "index.npz", retrieval__confidence_threshold=1.0, rerank__gate__mode="threshold")
    vectors = Index.open(place / "index.npz").vectors()
    with HybridClassifier(config) as classifier:
        assert classifier.reranker is not None
        results = classifier.classify_vectors(vectors)
    assert {result.decision.reason for result in results} <= {"ambiguous", "novel"}
    assert not any(result.used_reranker or result.decision.action == "rerank" for result in results)
    config.set("encoder.backend=vectors")
    with HybridClassifier(config) as classifier:
        assert classifier.reranker is None
        assert classifier.classify_vectors(vectors) == results


def test_vectors_of_several_encoders(tmp_path):
    """A list has the vectors of each encoder, in their order."""
    draw_sides(tmp_path / "dataset", count=4)
    encoders = [ColorEncoder(), LayoutEncoder()]
    config = offline_config(tmp_path / "index.npz", rerank__enabled=False)
    build_index_from_directory(tmp_path / "dataset", tmp_path / "index.npz", config=config, encoder=encoders)
    images = [Image.open(path).convert("RGB") for path in sorted((tmp_path / "dataset").rglob("*.png"))]
    each = [encoder.encode([encoder.preprocess(image) for image in images]) for encoder in encoders]
    with HybridClassifier(config, encoders) as classifier:
        expected = [without_file(classifier.classify(image)) for image in images]
        assert classifier.classify_vectors(each) == expected
    config.set("encoder.backend=vectors")
    with HybridClassifier(config) as classifier:
        assert classifier.classify_vectors(each) == expected
        with pytest.raises(VectorError, match="a list of 2 arrays"):
            classifier.classify_vectors(each[0])


def test_wrong_vectors_are_refused(config):
    """By their shape and values; a label that is not there, too; and nothing after it was closed."""
    config.set("encoder.backend=vectors")
    classifier = HybridClassifier(config)
    with pytest.raises(VectorError, match=r"\(n, \d+\), got \(2, 3\)"):
        classifier.classify_vectors(np.ones((2, 3)))
    with pytest.raises(NoSuchLabelError, match="wolf"):
        classifier.classify_vectors([], AnswerOptions(["wolf"]))
    classifier.close()
    with pytest.raises(ClosedError):
        classifier.classify_vectors([])
