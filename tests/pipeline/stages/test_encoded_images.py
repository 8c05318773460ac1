"""Prepare, encode and vote give what `classify` gives, in any batches and threads."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.errors import CorruptImageError, EncoderError, ImageInputError
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.stages.reranking import rerank_votes
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.encoders import ColorEncoder, LayoutEncoder, draw_sides


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """A dataset whose labels need both encoders, its calibrated index with a cascade, and new images."""
    root = tmp_path_factory.mktemp("stages")
    draw_sides(root / "dataset", count=8)
    draw_sides(root / "new", count=4, seed=1)
    config = offline_config(root / "index", retrieval__cascade=True)
    build_index_from_directory(root / "dataset", config=config, output_path=root / "index", encoder=encoders())
    calibrate_index(root / "index", config)
    return root


def encoders(**refused):
    return [ColorEncoder(**refused), LayoutEncoder()]


def one_encoder(root):
    draw_dataset(root / "dataset", count=5, size=48)
    draw_dataset(root / "new", count=3, size=48, seed=1)
    config = offline_config(root / "index.npz", retrieval__open_set_threshold=-1.0)
    build_index_from_directory(root / "dataset", root / "index.npz", config=config)
    return HybridClassifier(config)


def opened(kind, sides, tmp_path):
    """Return a classifier, and new images of its labels."""
    if kind == "one encoder":
        return one_encoder(tmp_path), sorted((tmp_path / "new").rglob("*.png"))
    settings = {"rerank__enabled": kind == "reranker", "retrieval__cascade": kind != "several encoders"}
    if kind == "reranker":
        settings |= {"retrieval__confidence_threshold": 1.0, "rerank__gate__mode": "threshold"}
        settings |= {"retrieval__open_set_threshold": -1.0}
    config = offline_config(sides / "index", **settings)
    return HybridClassifier(config, encoders()), sorted((sides / "new").rglob("*.png"))


def given_as(path, number):
    """Return an image in one of the ways in which programs have it."""
    match number % 4:
        case 0:
            return path
        case 1:
            return path.read_bytes()
        case 2:
            return bytearray(path.read_bytes())
    return Image.open(path)


@pytest.mark.parametrize("kind", ["one encoder", "several encoders", "cascade", "reranker"])
def test_the_stages_give_the_same_results_bit_for_bit(kind, sides, tmp_path):
    """One by one, in batches, prepared in threads, and with the reranker asked at the end."""
    classifier, paths = opened(kind, sides, tmp_path)
    images = [given_as(path, number) for number, path in enumerate(paths)]
    with classifier, ThreadPoolExecutor(4) as pool:
        expected = [classifier.classify(image) for image in images]
        prepared = list(pool.map(classifier.prepare, images))
        assert classifier.vote(classifier.encode(prepared)) == expected
        batches = [prepared[start : start + 3] for start in range(0, len(prepared), 3)]
        encoded = list(pool.map(classifier.encode, batches))
        assert [result for results in pool.map(classifier.vote, encoded) for result in results] == expected
        votes = [vote for part in encoded for vote in classifier.retrieve(part)]
        assert rerank_votes(votes) == expected
        assert classifier.vote(classifier.encode([])) == []
    reasons = {result.decision.reason for result in expected}
    assert ("reranked" in reasons) == (kind == "reranker")
    for vote, result in zip(votes, expected):
        assert (vote.ambiguity is not None) == result.used_reranker
        failed = vote.unanswered("too slow")
        if vote.ambiguity is None:
            assert failed == result
        else:
            assert (failed.decision.reason, failed.error) == ("reranker_failed", "too slow")
            assert replace(failed, decision=vote.result.decision, error=None) == vote.result


def test_no_pixels_of_a_file_wait_for_the_encoder(sides, tmp_path):
    """They are read again where they are asked for, and refused where the file changed."""
    path = tmp_path / "moved.png"
    shutil.copy(sorted((sides / "new").rglob("*.png"))[0], path)
    with HybridClassifier(offline_config(sides / "index"), encoders()) as classifier:
        prepared = classifier.prepare(path)
        np.testing.assert_array_equal(np.asarray(prepared.load_image()), np.asarray(Image.open(path)))
        draw("stripes", np.random.default_rng(0), 16).save(path)
        with pytest.raises(Exception, match="changed after it was encoded"):
            prepared.load_image()
        data = bytearray(Path(sorted((sides / "new").rglob("*.png"))[1]).read_bytes())
        before = classifier.prepare(data)
        expected = np.asarray(before.load_image())
        data[:] = b"other bytes"
        np.testing.assert_array_equal(np.asarray(before.load_image()), expected)


def test_a_bad_image_is_refused_in_its_stage(sides):
    """`prepare` raises what `classify` raises; `encode` names what its encoder refuses, and the others go on."""
    paths = sorted((sides / "new").rglob("*.png"))
    odd = Image.new("RGB", (20, 21))
    config = offline_config(sides / "index", rerank__enabled=False)
    with HybridClassifier(config, encoders(refused=[(20, 21)])) as classifier:
        with pytest.raises(CorruptImageError):
            classifier.prepare(b"\xff\xd8\xff\xe0")
        with pytest.raises(ImageInputError):
            classifier.prepare(7)
        with pytest.raises(EncoderError):
            classifier.classify(odd)
        encoded = classifier.encode([classifier.prepare(image) for image in (paths[0], odd, paths[1])])
        assert list(encoded.refused) == [1]
        assert len(encoded) == 3
        results = classifier.vote(encoded)
        assert [result.decision.reason == "unreadable" for result in results] == [False, True, False]
        assert results == classifier.classify_many([paths[0], odd, paths[1]])
        assert results[0] == classifier.classify(paths[0])
