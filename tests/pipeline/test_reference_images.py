"""Reference images are similar to the query, typical of their label, and readable."""

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import RerankerError
from lmm_classifier.data.images import ImageLimits
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.reference_images import ReferenceImages
from tests.helpers.datasets import draw_dataset


@pytest.fixture
def dataset(tmp_path):
    return draw_dataset(tmp_path / "dataset", ["polka_dots", "stripes"], count=7, size=48)


@pytest.fixture
def index(dataset, tmp_path):
    build_index_from_directory(dataset, tmp_path / "index.npz", config=PipelineConfig.offline())
    return Index.open(tmp_path / "index.npz")


@pytest.fixture
def nearest(index):
    """Find what is near the first example, with its own content left out."""
    similarities = index.compare(index.vectors()[:1], [index.hashes[0]])
    return lambda label, rows, k: (*similarities.nearest(0, k, rows), 0)


def test_an_image_is_not_its_own_reference(dataset, index, nearest):
    """Every label gets as many images as asked for, in the order in which labels are named."""
    labels = ["stripes", index.examples[0].label]
    shown = ReferenceImages([index], 3, ImageLimits()).of(nearest, labels)
    assert [len(images) for images in shown] == [3, 3]
    own = np.asarray(Image.open(dataset / index.examples[0].path).convert("RGB"))
    assert not any(np.array_equal(np.asarray(image), own) for images in shown for image in images)
    of_stripes = [np.asarray(Image.open(path).convert("RGB")) for path in (dataset / "stripes").iterdir()]
    assert all(any(np.array_equal(np.asarray(image), known) for known in of_stripes) for image in shown[0])


def test_a_file_that_cannot_be_read_is_replaced_by_the_next_one(dataset, index, nearest, caplog):
    """The log names it."""
    sorted((dataset / "stripes").iterdir())[0].write_bytes(b"broken")
    (images,) = ReferenceImages([index], 7, ImageLimits()).of(nearest, ["stripes"])
    assert len(images) == 6
    assert "A reference image cannot be read" in caplog.text


def test_without_references_nothing_is_read(index, nearest, dataset):
    """Then the dataset folder need not exist; otherwise the error says what to set."""
    dataset.rename(dataset.with_name("moved"))
    assert ReferenceImages([index], 0, ImageLimits()).of(nearest, ["stripes"]) == ()
    with pytest.raises(RerankerError, match=r"dataset is missing.*rerank\.prompt\.mode: names"):
        ReferenceImages([index], 1, ImageLimits())
