"""Imports go down the floors, never up or sideways; heavy libraries are not imported until needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FLOORS = [
    {"datatypes", "reports", "errors", "logging_config", "prompt_template", "atomic", "one_thread", "ahead"},
    {"decoder_pool"},
    {"protocols", "yaml_reader", "images", "lazy", "console", "torch_device"},
    {"door", "decode_worker"},
    {"config_section"},
    {"rerank_config"},
    {"config", "writers", "checkpoint"},
    {
        "corpus",
        "spaces",
        "calibration",
        "promises",
        "decision",
        "patterns",
        "testing",
        "metrics",
        "page",
        "fusion",
        "gate",
    },
    {"pairs", "fine_product"},
    {"comparison"},
    {"gallery", "metric", "charts", "second_look"},
    {"second_look_report"},
    {"leave_one_out", "voting", "shortlist"},
    {"novelty", "text_voice"},
    {"voices"},
    {"cross_fit", "shots", "virtual_unknowns"},
    {"embeddings", "index", "rerank"},
    {"carry_over", "encode_files", "sync_plan"},
    {"calibrated", "corpus_contents", "newcomers"},
    {"retriever", "sync"},
    {"references", "label_scores", "index_editor"},
    {"second_look_command", "flow"},
    {"pipeline", "index_builder"},
    {
        "contact_sheet",
        "classify_command",
        "info_command",
        "calibrate_command",
        "report_command",
        "edit_command",
        "export_command",
    },
    {"doctor"},
    {"evaluation", "audit"},
    {"evaluate_command", "audit_command", "doctor_command"},
    {"demo"},
    {"cli_options"},
    {"cli_index"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PACKAGE = Path(__file__).parent.parent / "lmm_classifier"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
HEAVY = ["torch", "transformers", "onnxruntime", "onnx", "openvino", "huggingface_hub", "pandas", "sklearn", "scipy"]
HEAVY += ["fastapi", "ray", "lancedb", "faiss", "usearch", "cykooz_resizer"]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path):
    """A room imports itself and the floors below."""
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for name in imports(path):
        head, _, rest = name.partition(".")
        if head == "lmm_classifier" and rest != "__version__":
            other = rest.split(".")[0]
            assert other == room or FLOOR[other] < FLOOR[room], f"{room} must not import {other}"


@pytest.mark.parametrize("room", ["embeddings", "rerank"])
def test_implementations_do_not_import_each_other(room):
    """Inside a seam's folder an implementation knows its own helpers only, never its own front file."""
    # what implementations share, and the parts of one
    allowed = {"prompts", "descriptor_blocks", "tally", "picture_budget", "one_forward"}
    allowed |= {"chat_client", "server_probe", "breaker", "replies"}
    allowed |= {"preprocessing", "resize", "exported", "torch_tower"}
    for path in (PACKAGE / room).glob("[!_]*.py"):
        for name in imports(path):
            if name.startswith(f"lmm_classifier.{room}."):
                assert name.split(".")[2] in allowed, f"{path.name} imports {name}"


def test_files_are_small():
    """A file holds one idea: at most 300 lines."""
    long = {path.name: lines for path in MODULES if (lines := len(path.read_text().splitlines())) > 300}
    assert long == {}


def loaded_by(code):
    listing = f"{code}\nimport sys; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", listing], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_import_and_help_load_nothing_heavy():
    """Importing the package, and every room of it, leaves the heavy libraries alone; help leaves numpy alone too."""
    assert not loaded_by("import lmm_classifier") & {*HEAVY, "numpy", "PIL", "pydantic", "typer"}
    rooms = [
        "lmm_classifier." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in MODULES
        if path.name not in ("__main__.py", "__init__.py")
    ]
    assert not loaded_by("import " + ", ".join(rooms)) & set(HEAVY)
    assert not loaded_by("import lmm_classifier.cli") & {*HEAVY, "numpy", "PIL", "pydantic"}
