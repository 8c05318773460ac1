"""The transformer gives the vectors of the encoder, for every kind of image, and joins pipelines."""

import doctest
import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import Cancelled, ConfigError, ImageError, ImageInputError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index
from lmm_classifier.integrations.sklearn import ImageEncoder, TrainFreeClassifier, image_encoder
from tests.helpers.datasets import draw_dataset


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    draw_dataset(root, count=6)
    return sorted(root.rglob("*.png"))


@pytest.mark.long
def test_the_vectors_are_those_of_an_index(images, tmp_path):
    """Bit for bit, in any batch, and for each kind of input."""
    build_index_from_directory(images[0].parent.parent, tmp_path / "index.npz", config=PipelineConfig.offline())
    index = Index.open(tmp_path / "index.npz")
    stored = dict(zip(index.contents.paths, index.vectors()))
    expected = np.array([stored[f"{path.parent.name}/{path.name}"] for path in images])
    encoder = ImageEncoder("descriptor")
    vectors = encoder.transform(images)
    assert vectors.dtype == np.float32
    assert (vectors == expected).all()
    assert (
        ImageEncoder(config=PipelineConfig.offline()).fit_transform([str(path) for path in images]) == vectors
    ).all()
    assert (encoder.transform(images[3:4]) == vectors[3:4]).all()
    opened = [Image.open(path).convert("RGB") for path in images[:4]]
    others = [opened[0], images[1].read_bytes(), np.asarray(opened[2]), images[3]]
    assert (encoder.transform(others) == vectors[:4]).all()
    assert (encoder.transform(np.stack([np.asarray(image) for image in opened])) == vectors[:4]).all()
    assert encoder.transform([]).shape == (0, vectors.shape[1])
    assert len(encoder.get_feature_names_out()) == vectors.shape[1]


@pytest.mark.long
def test_it_joins_a_pipeline(images, tmp_path):
    """Labels of folders are learned from paths; a search with a memory encodes once."""
    labels = [path.parent.name for path in images]
    encoder = ImageEncoder("descriptor")
    pipeline = make_pipeline(
        encoder, TrainFreeClassifier(transform_fitter=encoder.transform_fitter), memory=str(tmp_path / "memory")
    )
    search = GridSearchCV(pipeline, {"trainfreeclassifier__rule": ["auto", "knn"]}, cv=2).fit(images, labels)
    assert search.best_score_ > 0.7
    assert "ImageEncoder" in search.best_estimator_._repr_html_()
    copy = pickle.loads(pickle.dumps(search.best_estimator_))
    assert copy.predict(images).tolist() == search.predict(images).tolist()


@pytest.mark.parametrize("estimator", [ImageEncoder, TrainFreeClassifier])
def test_the_examples_run(estimator, images, tmp_path, monkeypatch):
    """Those of the docstrings, which the reference shows."""
    shutil.copytree(images[0].parent.parent, tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    (test,) = [found for found in doctest.DocTestFinder().find(estimator, "estimator") if found.examples]
    output = []
    runner = doctest.DocTestRunner()
    runner.run(test, out=output.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(output)


def test_copies_have_no_model(images):
    """A copy opens the encoder when it is asked; other parameters open another one."""
    encoder = ImageEncoder("descriptor")
    vectors = encoder.transform(images[:1])
    assert "_opened" not in clone(encoder).__dict__
    assert "_opened" not in encoder.__getstate__()
    assert (pickle.loads(pickle.dumps(encoder)).transform(images[:1]) == vectors).all()
    encoder.set_params(backend="onnx", model=str(Path("nothing") / "there"))
    with pytest.raises(Exception, match="nothing"):
        encoder.transform(images[:1])


def test_wrong_images_and_parameters(images, tmp_path):
    """The file is named; one image is not several; several encoders are not one."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(images[0].read_bytes()[:100])
    encoder = ImageEncoder("descriptor")
    with pytest.raises(ImageError, match=r"broken.png"):
        encoder.transform([images[0], broken])
    with pytest.raises(ImageInputError, match="Put it in a list"):
        encoder.transform(str(images[0]))
    with pytest.raises(ConfigError, match="config has 2 encoders.*VotingClassifier"):
        ImageEncoder(config=PipelineConfig.preset("fused")).transform(images[:1])
    with pytest.raises(ConfigError, match="backend"):
        ImageEncoder("clip").transform(images[:1])


@pytest.mark.parametrize("on_error", ["raise", "nan"])
def test_bad_images_among_many(images, tmp_path, on_error):
    """An error names all of them, wherever they are; or each has a row of NaN, and the others their vectors."""
    broken = [tmp_path / f"broken{number}.png" for number in range(12)]
    for path in broken:
        path.write_bytes(b"no image")
    several = [broken[0], images[0], *broken[1:], images[1]]
    states = []
    config = PipelineConfig(encoder={"backend": "descriptor", "batch_size": 3})
    encoder = ImageEncoder(config=config, on_error=on_error, progress=states.append)
    if on_error == "raise":
        with pytest.raises(ImageError, match="^12 of 14 images have no vector: .*broken9.png.*; and 2 more. Leave"):
            encoder.transform(several)
        with pytest.raises(ImageError, match=r"^1 of 2 images .*: image 1: .*on_error=\"nan\""):
            encoder.transform([images[0], b"no image"])
    else:
        vectors = encoder.transform(several)
        good = ~np.isnan(vectors).any(axis=1)
        assert good.nonzero()[0].tolist() == [1, 13]
        assert (vectors[good] == ImageEncoder("descriptor").transform(images[:2])).all()
    first = [(state.done, state.total, state.skipped) for state in states[:5]]
    assert first == [(3, 14, 2), (6, 14, 5), (9, 14, 8), (12, 14, 11), (14, 14, 12)]


def test_a_run_can_be_stopped(images):
    """By the function that is told how far it is; what is no function is refused, as a wrong `on_error` is."""

    def stop(progress):
        raise Cancelled(f"{progress.done} are enough")

    with pytest.raises(Cancelled, match=f"{len(images)} are enough"):
        ImageEncoder("descriptor", progress=stop).transform(images)
    with pytest.raises(ConfigError, match="Expected True to show it"):
        ImageEncoder("descriptor", progress=3).transform(images)
    with pytest.raises(ConfigError, match="on_error is 'skip'. Expected 'raise' or 'nan'"):
        ImageEncoder("descriptor", on_error="skip").transform(images)


def test_the_advice_is_given_once(images, caplog):
    """In the words of the estimator, however often it is copied."""
    image_encoder._advise.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            clone(ImageEncoder("descriptor")).transform(images[:1])
    (record,) = caplog.records
    assert "ImageEncoder('lite') is far more accurate" in record.message
    assert "transform_fitter" in record.message


@pytest.mark.long
def test_encoders_vote(images):
    """One pipeline for each encoder, on paths, as the guide has it."""
    encoder = ImageEncoder("descriptor")
    center = ImageEncoder(config=PipelineConfig(encoder={"backend": "descriptor", "view": "center 0.5"}))
    pipelines = [
        (name, make_pipeline(step, TrainFreeClassifier(transform_fitter=step.transform_fitter)))
        for name, step in (("whole", encoder), ("center", center))
    ]
    labels = [path.parent.name for path in images]
    ensemble = VotingClassifier(pipelines, voting="soft").fit(images, labels)
    expected = np.mean([pipeline.predict_proba(images) for pipeline in ensemble.estimators_], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(images), expected)
    assert ensemble.predict(images).tolist() == labels
