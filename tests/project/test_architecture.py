"""Imports go down the floors, never up or sideways; heavy libraries are not imported until needed; rooms are small."""

import ast
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.syntax import nodes

FLOORS = [
    {"core", "logging_config"},
    {"data", "neighbors", "rerank"},
    {"embeddings", "html"},
    {"config", "testing"},
    {"index"},
    {"calibration"},
    {"pipeline"},
    {"evaluation", "batching", "discovery", "distributed"},
    {"review", "plots"},
    {"server", "integrations"},
    {"cli"},
    {"index_builder", "__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ONLY = {  # what a room may import where its floor alone would allow more
    "config": {"core", "data.config", "embeddings.config", "neighbors.config", "rerank.config", "server.config"},
    "testing": {"core"},
    "embeddings": {"core", "data"},
    "html": {"core", "data"},
    "index": {"core", "data", "embeddings", "html", "neighbors", "config"},
    "calibration": {
        "core",
        "html",
        "neighbors",
        "index",
        "embeddings.whitening",
        "rerank.benefit",
        "data.readers.dataset_spec",  # the name of a dataset, no image
    },
    "index_builder": {"cli", "config", "core", "logging_config", "index.build.builder"},
    "__main__": {"cli"},
}
PACKAGE = ROOT / "lmm_classifier"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
ROOMS = sorted(path.parent for path in PACKAGE.rglob("*/__init__.py"))
SERVED = {  # modules that import the libraries of the extra `server`; only the command `serve` imports them
    f"lmm_classifier.{'.'.join(path.relative_to(PACKAGE).with_suffix('').parts)}"
    for path in PACKAGE.glob("server/**/*.py")
    if path.stem not in ("config", "__init__")
}
SERVED |= {  # and those that the classes of another library are made of
    f"lmm_classifier.integrations.sklearn.{path.stem}" for path in PACKAGE.glob("integrations/sklearn/[!_]*.py")
}
HEAVY = ["torch", "transformers", "onnxruntime", "onnx", "openvino", "huggingface_hub", "pandas", "sklearn", "scipy"]
HEAVY += ["fastapi", "starlette", "uvicorn", "httptools", "python_multipart", "prometheus_client"]
HEAVY += ["nncf", "ray", "lance", "lancedb", "faiss", "usearch", "cykooz_resizer", "jinja2"]
HEAVY += ["matplotlib", "IPython", "ipywidgets"]
HEAVY += ["pyarrow", "datasets", "fsspec", "s3fs", "gcsfs", "aiohttp", "botocore"]


def imports(path):
    """Every import of a file, those inside functions too, as dotted names without `lmm_classifier.`."""
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def inner(path):
    """The imports of the package's own modules."""
    return [name.partition(".")[2] for name in imports(path) if name.startswith("lmm_classifier.")]


def relative(path):
    return str(path.relative_to(PACKAGE))


def wrong_imports(path):
    """Yield the imports that go up or sideways, or where the table allows less."""
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for name in inner(path):
        other = name.split(".")[0]
        if other in (room, "__version__"):
            continue
        is_settings = room == "config" and name.startswith("server.config.")  # `config` has the settings of all
        goes_down = FLOOR[other] < FLOOR[room] or is_settings
        limited = room in ONLY and path.name != "config.py"
        allowed = not limited or any(f"{name}.".startswith(f"{allowed}.") for allowed in ONLY[room])
        if not (goes_down and allowed):
            yield f"{relative(path)} must not import {name}"


def test_imports_only_go_down():
    """A room imports itself and the floors below, or less where the table says so."""
    assert [wrong for path in MODULES for wrong in wrong_imports(path)] == []


def test_the_storage_does_not_know_who_builds():
    """`index/build` writes through `index/storage`, never the other way round."""
    for path in (PACKAGE / "index/storage").rglob("*.py"):
        assert not [name for name in inner(path) if name.startswith("index.build")], path.name


SHARED_PARTS = {
    "embeddings": {
        "base",
        "preprocessing",
        "resize",
        "view",
        "lazy_encoder",
        "encoded_batch",
        "exported_model",
        "onnx_external_data",
        "efficientnet_lite",
        "torch_weights",
        "checkpoint_parts",
        "image_processor",
        "image_tower",
        "model_types",
        "pooling",
        "text_tower",
        "torch_runner",
        "config",
        "encode_files",
        "encode_images",
        "whitening",
    },
    "rerank": {
        "prompts",
        "prompt_template",
        "aggregation",
        "image_budget",
        "shared_prefix",
        "whole_forward",
        "self_check",
        "answer_tokens",
        "chat_format",
        "token_batches",
        "vlm_checkpoint",
        "drawn_questions",
        "answer_formats",
        "chat_client",
        "chat_reply",
        "circuit_breaker",
        "dialect",
        "endpoint",
        "http_session",
        "pacing",
        "proxies",
        "requested_wait",
        "responses",
        "server_errors",
        "server_options",
        "server_probe",
        "config",
        "fusion",
        "gating",
        "benefit",
    },
}


@pytest.mark.parametrize("room", SHARED_PARTS)
def test_implementations_do_not_import_each_other(room):
    """Inside a seam's room an implementation imports parts that several share, never a sibling or the registry."""
    for path in (PACKAGE / room).glob("[!_]*.py"):
        if path.name in ("registry.py", "opening.py"):
            continue
        for name in inner(path):
            if name.startswith(f"{room}."):
                assert name.split(".")[1] in SHARED_PARTS[room], f"{path.name} imports {name}"


@pytest.mark.parametrize("room", ROOMS, ids=relative)
def test_a_room_says_what_it_is_for(room):
    """Its `__init__` holds a docstring and lazy names only, so that entering a room costs nothing."""
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    rest = [ast.unparse(node) for node in tree.body[1:]]
    stub = (room / "__init__.pyi").is_file()
    attach = "__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)"
    assert rest == (["import lazy_loader", attach] if stub else [])


def test_rooms_are_small():
    """The root holds at most eight modules; a room of more than 15 modules says why on its first line."""
    assert len([*PACKAGE.glob("*.py")]) <= 8
    for room in ROOMS:
        modules = [path for path in room.glob("*.py") if path.name != "__init__.py"]
        first = (room / "__init__.py").read_text(encoding="utf-8").splitlines()[0]
        assert len(modules) <= 15 or "one file per" in first, relative(room)


def test_files_are_small():
    """A file holds one idea: at most 300 lines; the body of a function at most 40."""
    long = {relative(path): lines for path in MODULES if (lines := len(path.read_text().splitlines())) > 300}
    for path in MODULES:
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
                start = node.body[1].lineno if documented and len(node.body) > 1 else first.lineno
                if node.end_lineno - start + 1 > 40:
                    long[f"{relative(path)}:{node.name}"] = node.end_lineno - start + 1
    assert long == {}


def test_no_import_circle():
    """Modules form no circle, imports inside functions and for types included."""
    names = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in MODULES}
    graph = {name: {imported.rpartition(".")[0] for imported in inner(path)} for name, path in names.items()}
    done, active = set(), []

    def visit(module):
        assert module not in active, f"circle: {' -> '.join([*active, module])}"
        if module in done or module not in graph:
            return
        active.append(module)
        for other in graph[module]:
            visit(other)
        active.pop()
        done.add(module)

    for module in graph:
        visit(module)


def loaded_by(code):
    listing = f"{code}\nimport sys; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", listing], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_import_and_help_load_nothing_heavy():
    """Importing the package, and every room of it, leaves the heavy libraries alone; help leaves numpy alone too."""
    assert not loaded_by("import lmm_classifier") & {*HEAVY, "numpy", "PIL", "pydantic", "typer"}
    rooms = ["lmm_classifier." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in MODULES]
    rooms = [room for room in rooms if not room.endswith("__main__") and room not in SERVED]
    assert not loaded_by("import " + ", ".join(rooms)) & set(HEAVY)
    assert not loaded_by("import lmm_classifier.cli.app") & {*HEAVY, "numpy", "PIL", "pydantic"}
