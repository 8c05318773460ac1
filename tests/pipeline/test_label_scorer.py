"""Labels are scored for images as retrieval does it."""

import numpy as np
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.label_scorer import LabelScorer
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from tests.helpers.datasets import draw_dataset, offline_config


def test_scores_of_wanted_labels_are_those_of_the_retriever(tmp_path):
    """In the order in which labels are named, in batches of any size, with examples left out."""
    dataset = draw_dataset(tmp_path / "dataset", count=3, size=48)
    build_index_from_directory(dataset, tmp_path / "index.npz", config=PipelineConfig.offline())
    index = Index.open(tmp_path / "index.npz")
    retriever = Retriever.open(offline_config(tmp_path / "index.npz").retrieval, [index])
    encoder = DescriptorEncoder()
    rows = [0, 4, 8]
    images = [Image.open(dataset / index.examples[row].path).convert("RGB") for row in rows]
    leave_out = [index.hashes[0], None, index.hashes[8]]
    expected = retriever.score(QueryVectors.given(encode_images(encoder, images)), leave_out).log_probabilities
    names = list(index.label_names)
    wanted = [names[:2], names[::-1], [names[3]]]
    for batch_size in (1, 2, 8):
        scored = LabelScorer([encoder], retriever, batch_size)(images, leave_out, wanted)
        for row, labels, scores in zip(expected, wanted, scored, strict=True):
            np.testing.assert_allclose(scores, [row[names.index(label)] for label in labels], rtol=1e-5)
