"""An index whose examples stay in a store is evaluated on images, with its copies found."""

import shutil

import pytest
from PIL import Image

from lmm_classifier import HybridClassifier, build_index_from_directory, calibrate_index, evaluate_folder
from lmm_classifier.config import PipelineConfig
from tests.helpers.datasets import draw_dataset
from tests.helpers.tiny_onnx import write_tiny_onnx

pytest.importorskip("onnxruntime", reason="needs lmm-classifier[onnx]")
pytest.importorskip("onnx", reason="writes a model of its own")


@pytest.fixture
def config(tmp_path):
    config = PipelineConfig()
    config.encoder.backend = "onnx"
    config.encoder.model = str(write_tiny_onnx(tmp_path))
    config.rerank.enabled = False
    config.retrieval.index_path = tmp_path / "index"
    config.retrieval.search = "store"
    return config


def test_images_are_classified_and_copies_are_told(tmp_path, config):
    """Identical and saved-again images of the dataset do not count; the others have evidence of their label."""
    corpus = draw_dataset(tmp_path / "corpus", count=8)
    build_index_from_directory(image_root=corpus, output_path=tmp_path / "index", batch_size=8, config=config)
    calibrate_index(tmp_path / "index", config)
    new = draw_dataset(tmp_path / "new", count=3, seed=9)
    label = sorted(path.name for path in corpus.iterdir())[0]
    copied = sorted((corpus / label).iterdir())
    shutil.copy(copied[0], new / label / "copy.png")
    Image.open(copied[1]).convert("RGB").save(new / label / "saved again.jpg", quality=92)
    with HybridClassifier(config) as classifier:
        evaluation = evaluate_folder(new, classifier)
        assert type(classifier.index).__name__ == "StoreIndex"
        result = classifier.classify(sorted((new / label).iterdir())[1])
        assert all(n.example.label == c.label for c in result.candidates for n in c.neighbors)
        assert len(result.candidates[0].neighbors) > 0
    assert len(evaluation.known) == 12
    assert [entry.image.name for entry in evaluation.identical] == ["copy.png"]
    assert [entry.image.name for entry in evaluation.near_copies] == ["saved again.jpg"]
