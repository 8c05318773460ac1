"""Serve an index of `ColorEncoder` in a process of its own: `python -m tests.helpers.serve_colors INDEX PORT ROOT`."""

import sys
from pathlib import Path

from lmm_classifier.server.run import serve
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder

if __name__ == "__main__":
    index, port, root = sys.argv[1:]
    config = offline_config(Path(index), rerank__enabled=False)
    config.server.port, config.server.roots = int(port), {"inbox": Path(root)}
    serve(config, ColorEncoder(), on_start=lambda url: print(url, flush=True))
