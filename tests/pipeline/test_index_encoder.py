"""Images and label names are encoded by the encoder that the index was built with, and by no other."""

import numpy as np
import pytest

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CalibrationError, IndexMismatchError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.index_encoder import encode_label_names, encode_readable, open_encoders_of
from tests.helpers.datasets import draw_dataset, offline_config


def test_unreadable_files_are_skipped_and_positions_kept(tmp_path, caplog):
    """The vectors are those of the index; a file that is no image is logged."""
    dataset = draw_dataset(tmp_path / "dataset", count=2, size=48)
    config = offline_config(tmp_path / "index.npz")
    build_index_from_directory(dataset, tmp_path / "index.npz", config=config)
    index = Index.open(tmp_path / "index.npz")
    (tmp_path / "bad.png").write_bytes(b"no image")
    files = [dataset / index.examples[3].path, tmp_path / "bad.png", dataset / index.examples[0].path]
    encoders = open_encoders_of([index], config, tmp_path)
    (vectors,), encoded = encode_readable(encoders, files, config)
    assert [file.position for file in encoded] == [0, 2]
    assert [file.content_hash for file in encoded] == [index.hashes[3], index.hashes[0]]
    np.testing.assert_array_equal(vectors, index.vectors()[[3, 0]])
    assert "bad.png is skipped" in caplog.text
    assert encode_readable(encoders, [], config)[0][0].shape == (0, index.fingerprint.dim)
    assert encode_label_names([index], config, tmp_path) == [None]
    with pytest.raises(IndexMismatchError, match="descriptor"):
        open_encoders_of([index], PipelineConfig(), tmp_path)


@pytest.mark.long
def test_label_names_of_an_untrained_text_tower_are_encoded_and_not_used(tiny_encoder, tmp_path):
    """They do not improve leave-one-out; `zero_shot_text: off` skips them; without the encoder the error says so."""
    config = PipelineConfig()
    config.encoder.model = str(tiny_encoder("siglip"))
    config.retrieval.zero_shot_template = "{label}"
    path = tmp_path / "index.npz"
    build_index_from_directory(draw_dataset(tmp_path / "dataset", count=6, size=48), path, config=config)
    index = Index.open(path)
    (texts,) = encode_label_names([index], config, path)
    assert texts.shape == (len(index.label_names), index.gallery.embeddings.shape[1])
    assert "zero-shot text: does not help, not used" in calibrate_index(path, config).notes
    config.retrieval.zero_shot_text = "off"
    assert not any(note.startswith("zero-shot text") for note in calibrate_index(path, config).notes)
    config.encoder.model = str(tmp_path / "nowhere")
    config.retrieval.zero_shot_text = "auto"
    with pytest.raises(CalibrationError, match="retrieval.zero_shot_text: off"):
        calibrate_index(path, config)
