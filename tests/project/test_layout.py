"""Tests are found by the same path as their module."""

from pathlib import Path

from tests.helpers.paths import ROOT, TESTS

PACKAGE = ROOT / "lmm_classifier"
OTHERS = {"browser", "contracts", "project", "helpers", "fixtures"}  # folders of tests that are not about one module
# test file -> the modules that it is about, where it serves more than the one of its own name
SEVERAL = {
    "batching/test_queue_states.py": "classifier_queue, admission, deadline_timer, worker_pool: any order of events",
    "embeddings/test_hub_layout.py": "transformers, image_tower, text_tower: the files of the default model",
    "index/test_former_format.py": "storage, npz, doctor: an index of the former format gets one clear error",
    "pipeline/test_cascaded_classifier.py": "classifier, encoded_files, cascade: several encoders in use",
    "pipeline/retrieval/test_opening.py": "retriever, encoder_retriever, fit, loading: what is fitted, read or reused",
    "rerank/test_fleet.py": "openai_api, cache: several servers behind the one URL of a router",
    "rerank/test_server_faults.py": "openai_api, chat_client, circuit_breaker, pipeline: what a faulty server does",
    "rerank/test_transformers_serve.py": "openai_api, server_probe: a real server",
}


def test_each_test_file_has_its_module():
    """`tests/<room>/test_<module>.py` is about `lmm_classifier/<room>/<module>.py`."""
    homeless = []
    for path in sorted(TESTS.rglob("test_*.py")):
        relative = path.relative_to(TESTS)
        if relative.parts[0] in OTHERS:
            continue
        module = PACKAGE / relative.parent / f"{path.stem.removeprefix('test_')}.py"
        if not module.is_file() and str(relative) not in SEVERAL:
            homeless.append(str(relative))
    assert homeless == []


def test_each_folder_of_tests_is_a_room():
    """The folders of tests are the rooms, and four for what no single module is."""
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    rooms = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("__init__.py")}
    assert {folder for folder in folders if folder not in rooms} <= {Path(name) for name in OTHERS}
