"""Install each extra alone into an empty environment, and use there what the extra is for.

`python -m scripts.try_extras [EXTRA ...]` tries all of `CHECKS`, or those named. It builds the wheel, makes tiny
checkpoints with the files and names of those on the hub, and starts a chat server on loopback. It needs a package
index, and some minutes and gigabytes for each extra with torch. Environments are deleted afterwards.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.embeddings.export import export_encoder
from scripts.extra_environment import ROOT, Environment, run_checked
from tests.fixtures import TRAINED_TEMPLATE
from tests.fixtures.make_tiny_encoders import make
from tests.fixtures.make_tiny_towers import make as make_tower
from tests.helpers.fault_server import ChatServer
from tests.helpers.remote_sources import web_server
from tests.helpers.tiny_onnx import write_tiny_onnx
from tests.helpers.tiny_qwen2_vl import CHECKPOINT

_LABELS = ("stripes", "polka_dots", "gingham")
_ALWAYS_ASK = ["retrieval.confidence_threshold=1", "rerank.gate.mode=threshold", "retrieval.open_set_threshold=-1"]


def _siglip(environment: Environment) -> None:
    for kind in ("siglip", "siglip2", "clip"):
        model = make(kind, environment.folder / kind, hub_layout=True)
        shutil.rmtree(environment.folder / "index", ignore_errors=True)
        environment.whole([f"encoder.model={model}", "rerank.enabled=false"])
    tower = environment.folder / "dinov3"  # its image processor in transformers needs torchvision
    tower.mkdir()
    model = make_tower("dinov3_vit", tower)
    shutil.rmtree(environment.folder / "index")
    environment.whole([f"encoder.model={model}", "rerank.enabled=false"])


def _exported(form: str) -> Callable[[Environment], None]:
    def check(environment: Environment) -> None:
        checkpoint = make("siglip", environment.folder / "siglip", hub_layout=True)
        export_encoder(str(checkpoint), environment.folder / "exported", "onnx" if form == "onnx" else "openvino")
        environment.whole([f"encoder.backend={form}", "encoder.model=exported", "rerank.enabled=false"])

    return check


def _lite(environment: Environment) -> None:
    environment.python("import importlib.util; assert importlib.util.find_spec('torch') is None, 'torch is installed'")
    environment.whole(["encoder.backend=lite", "rerank.enabled=false"])


def _int8(environment: Environment) -> None:
    environment.python("import nncf")  # it works without torch
    model = write_tiny_onnx(environment.folder)
    settings = ["encoder.backend=onnx", "rerank.enabled=false"]
    environment.run("build", "data", "--output", "index", settings=[*settings, f"encoder.model={model}"])
    quantize = ["quantize-encoder", "index", "--output", "8bit", "--keep-anyway"]
    environment.run(*quantize, settings=[*settings, f"encoder.model={model}"])
    shutil.rmtree(environment.folder / "index")
    environment.whole([*settings, "encoder.model=8bit"])


def _export(environment: Environment) -> None:
    model = make("siglip", environment.folder / "siglip", hub_layout=True)
    environment.run("export-encoder", "onnx", "--output", "exported", settings=[f"encoder.model={model}"])
    environment.whole(["encoder.backend=onnx", "encoder.model=exported", "rerank.enabled=false"])


def _vlm(environment: Environment) -> None:
    settings = [
        f"rerank.model_name={CHECKPOINT}",
        f"rerank.prompt_template={TRAINED_TEMPLATE!r}".replace("'", '"'),
        "rerank.model.dtype=float32",
        "rerank.prompt.min_visual_tokens=4",
        "rerank.prompt.max_visual_tokens=4",
        "rerank.prompt.min_option_mass=0",
    ]
    _asked(environment, ["encoder.backend=descriptor", *settings, *_ALWAYS_ASK])


def _openai_api(environment: Environment) -> None:
    with ChatServer("logprobs") as url:
        server = [f"rerank.server.base_url={url}", "rerank.backend=openai_api", "rerank.server.deadline=3600"]
        _asked(environment, ["encoder.backend=descriptor", *server, *_ALWAYS_ASK])


def _asked(environment: Environment, settings: list[str]) -> None:
    environment.run("build", "data", "--output", "index", settings=settings)
    results = environment.run("classify", "data", "--index", "index", "--format", "csv", settings=settings)
    if "reranked" not in results:
        raise SystemExit(f"[{environment.extra}]: the reranker gave no answer:\n{results}")


def _heif(environment: Environment) -> None:
    environment.python(
        "import pillow_heif; from PIL import Image; pillow_heif.register_heif_opener()\n"
        "Image.open('data/stripes/0.png').convert('RGB').save('photo.heic')"
    )
    offline = ["encoder.backend=descriptor", "rerank.enabled=false"]
    environment.run("build", "data", "--output", "index", settings=offline)
    environment.run("classify", "photo.heic", "--index", "index", settings=offline)  # exits with 3 if unreadable


def _search(environment: Environment) -> None:
    environment.python("from lmm_classifier.neighbors.int8 import is_available; assert is_available()")
    environment.whole(["encoder.backend=descriptor", "rerank.enabled=false"])


def _ann(environment: Environment) -> None:
    environment.whole(["encoder.backend=descriptor", "rerank.enabled=false", "retrieval.search=ann"])


def _parquet(environment: Environment) -> None:
    _parquet_images(environment)
    environment.python(
        "import numpy, pyarrow, pyarrow.parquet\n"
        "vectors = numpy.random.default_rng(0).normal(size=(30, 4)) + 5 * numpy.repeat(numpy.eye(2, 4), 15, axis=0)\n"
        "table = pyarrow.table({'vector': list(vectors), 'label': ['cat'] * 15 + ['dog'] * 15})\n"
        "pyarrow.parquet.write_table(table, 'vectors.parquet')"
    )
    environment.run("import", "vectors.parquet", "--output", "vectors")
    environment.run("classify", "--vectors", "vectors.parquet", "--index", "vectors", "--format", "csv")
    environment.run("export", "vectors", "--to", "parquet", "--output", "examples.parquet")
    environment.run("import", "examples.parquet", "--id-column", "path", "--output", "again")


def _plot(environment: Environment) -> None:
    """Draw a chart of an evaluation into a file, without a screen."""
    printed = environment.python(
        "import matplotlib\nmatplotlib.use('agg')\n"
        "from lmm_classifier import HybridClassifier, PipelineConfig, build_index_from_directory, evaluate_folder\n"
        "from lmm_classifier.plots import ReliabilityDisplay\n"
        "config = PipelineConfig.offline()\n"
        "config.retrieval.index_path = 'index'\n"
        "build_index_from_directory('data', 'index', config=config)\n"
        "evaluation = evaluate_folder('data', HybridClassifier(config), leave_out_identical=True)\n"
        "ReliabilityDisplay.from_evaluation(evaluation).figure_.savefig('chart.png')\n"
        "print(open('chart.png', 'rb').read(4))"
    )
    if "PNG" not in printed:
        raise SystemExit(f"[{environment.extra}]: no chart was written:\n{printed}")


def _sklearn(environment: Environment) -> None:
    environment.python(
        "from sklearn.datasets import load_iris\n"
        "from lmm_classifier.integrations.sklearn import TrainFreeClassifier\n"
        "X, y = load_iris(return_X_y=True)\n"
        "assert TrainFreeClassifier(metric='euclidean').fit(X, y).score(X, y) > 0.9"
    )


def _server(environment: Environment) -> None:
    offline = ["encoder.backend=descriptor", "rerank.enabled=false"]
    environment.run("build", "data", "--output", "index", settings=offline)
    answer = environment.python(
        "import http.client, os, pathlib, signal, threading, time\n"
        "from lmm_classifier import PipelineConfig\n"
        "from lmm_classifier.server.run import serve\n"
        "config = PipelineConfig.offline()\n"
        "config.retrieval.index_path, config.server.port, urls = pathlib.Path('index'), 0, []\n"
        "def ask():\n"
        "    port = int(urls[0].rpartition(':')[2])\n"
        "    for _ in range(600):\n"
        "        connection = http.client.HTTPConnection('127.0.0.1', port)\n"
        "        body = open('data/stripes/0.png', 'rb').read()\n"
        "        connection.request('POST', '/v1/classify', body, {'Content-Type': 'image/png'})\n"
        "        status = connection.getresponse().status\n"
        "        if status != 503:\n"
        "            break\n"
        "        time.sleep(0.1)\n"
        "    print('status', status)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "def start(url):\n"
        "    urls.append(url)\n"
        "    threading.Thread(target=ask).start()\n"
        "serve(config, on_start=start)\n"
    )
    if "status 200" not in answer:
        raise SystemExit(f"[{environment.extra}]: the server gave no result:\n{answer}")


def _recommended(environment: Environment) -> None:
    environment.python("import importlib.util; assert importlib.util.find_spec('torch') is None, 'torch is installed'")
    for check in (_lite, _heif, _search, _ann):
        shutil.rmtree(environment.folder / "index", ignore_errors=True)
        check(environment)


def _all(environment: Environment) -> None:
    for check in (_siglip, _openai_api, _heif, _search, _server):
        shutil.rmtree(environment.folder / "index", ignore_errors=True)
        check(environment)


def _parquet_images(environment: Environment) -> None:
    """Build an index from a Parquet file with the bytes of images."""
    write = (
        "import pathlib, pyarrow as pa, pyarrow.parquet as pq; files = sorted(pathlib.Path('data').rglob('*.png'));"
        "pq.write_table(pa.table({'image': [f.read_bytes() for f in files],"
        " 'label': [f.parent.name for f in files]}), 'data.parquet')"
    )
    environment.python(f"import os; os.chdir({str(environment.folder)!r}); {write}")
    environment.run("build", "data.parquet", "--output", "index", "--config", "offline")


def _datasets(environment: Environment) -> None:
    """Build an index from a folder by the library of the hub."""
    environment.run("build", "hf:data", "--output", "index", "--config", "offline")


def _remote(environment: Environment) -> None:
    """Build an index from a folder on a web server."""
    with web_server(environment.folder, None) as url:
        shutil.copytree(environment.folder / "data", environment.folder / "www/data")
        environment.run("build", f"{url}/data", "--output", "index", "--config", "offline")


def _ray(environment: Environment) -> None:
    """Classify by the workers of Ray, with an ordinary index."""
    environment.run("build", "data", "--output", "index", "--config", "offline")
    environment.run("classify", "data", "--index", "index", "--engine", "ray", "--config", "offline")


def _lance(environment: Environment) -> None:
    """Write an index as a table, and classify with the table."""
    environment.run("build", "data", "--output", "index", "--config", "offline")
    environment.run("export", "index", "--to", "lance", "--output", "table.lance", "--config", "offline")
    environment.run("classify", "data", "--index", "table.lance", "--config", "offline")


def _scale(environment: Environment) -> None:
    """Build a table by Ray, and classify with it."""
    environment.run("build", "data", "--engine", "ray", "--output", "table.lance", "--config", "offline")
    environment.run("classify", "data", "--index", "table.lance", "--config", "offline")


CHECKS: dict[str, Callable[[Environment], None]] = {
    "siglip": _siglip,
    "openvino": _exported("openvino"),
    "onnx": _exported("onnx"),
    "lite": _lite,
    "int8": _int8,
    "export": _export,
    "vlm": _vlm,
    "openai-api": _openai_api,
    "heif": _heif,
    "search": _search,
    "ann": _ann,
    "parquet": _parquet,
    "sklearn": _sklearn,
    "plot": _plot,
    "server": _server,
    "datasets": _datasets,
    "remote": _remote,
    "ray": _ray,
    "lance": _lance,
    "scale": _scale,
    "recommended": _recommended,
    "all": _all,
}
NOT_TRIED = {
    "gcs": "it needs a bucket of Google",
    "resize": "a part of siglip, openvino, onnx and lite",
    "bench": "for developers, who run the benchmarks",
    "mutants": "for developers, who run `make mutants`",
    "dev": "the environment of the tests",
}


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout into `folder`."""
    run_checked([sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)])
    (wheel,) = folder.glob("*.whl")
    return wheel


def try_extra(extra: str, wheel: Path) -> None:
    """Install one extra alone and use what it is for; raise SystemExit with the output where that fails."""
    with tempfile.TemporaryDirectory(prefix="lmm-extra-") as temporary:
        folder = Path(temporary)
        rng = np.random.default_rng(0)
        for label in _LABELS:
            (folder / "data" / label).mkdir(parents=True)
            for number in range(8):
                image = draw(label, rng, 64).resize((56, 56), Image.Resampling.BICUBIC)
                image.save(folder / "data" / label / f"{number}.png")
        CHECKS[extra](Environment(folder, wheel, extra))


def main() -> None:
    """Try the extras that the command line names, or all."""
    parser = argparse.ArgumentParser(description="Try each extra in an environment of its own.")
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=f"of {', '.join(CHECKS)}; none: all")
    chosen = parser.parse_args().extras or list(CHECKS)
    if unknown := sorted(set(chosen) - set(CHECKS)):
        parser.error(f"unknown extras: {', '.join(unknown)}; expected of {', '.join(CHECKS)}")
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        for extra in chosen:
            try_extra(extra, wheel)
            print(f"{extra}: works alone", flush=True)


if __name__ == "__main__":
    main()
