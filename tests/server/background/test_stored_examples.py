"""Audits and maps of a server whose examples stay in a store say so, and read nothing."""

import numpy as np
import pytest

from lmm_classifier import HybridClassifier, PipelineConfig
from lmm_classifier.index.vector_index import Index
from lmm_classifier.server.background.auditing import Auditing
from lmm_classifier.server.background.mapping import DatasetMapping
from lmm_classifier.server.background.stored_examples import NO_AUDIT, NO_MAP
from lmm_classifier.testing import clustered_embeddings


def test_they_are_refused_where_a_table_stays_in_its_store(tmp_path, monkeypatch):
    """The message is shown; no copy of the table is made."""
    pytest.importorskip("lance", reason="needs lmm-classifier[lance]")
    table = tmp_path / "index.lance"
    labels = ["cat"] * 30 + ["dog"] * 30
    vectors = clustered_embeddings(np.random.default_rng(0), labels, 8)
    Index.from_vectors(vectors, labels, [f"{number:02}.jpg" for number in range(60)]).save(table)
    config = PipelineConfig.preset("vectors")
    config.retrieval.index_path, config.retrieval.search = table, "store"
    monkeypatch.setattr(Index, "open_each", lambda *_: pytest.fail("the whole index was opened"))
    with HybridClassifier(config) as classifier:
        auditing, mapping = Auditing(classifier), DatasetMapping(classifier)
        auditing.start()
        auditing.close()
        view = auditing.view(starts=False)
        assert (view.state, view.error, view.audit) == ("failed", NO_AUDIT, None)
        assert mapping.view() is None
        mapping.close()
        assert (mapping.making.state, mapping.making.error) == ("failed", NO_MAP)
