"""The job of `lmm-classifier info`: what is in an index."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.console import printable
from lmm_classifier.index.store import read_index


def describe_index(path: Path) -> dict[str, Any]:
    """Describe an index without loading its vectors: encoder, space, labels with counts, sizes in bytes."""
    contents = read_index(path)
    manifest = contents.manifest
    files = [path] if path.is_file() else sorted(path.iterdir())
    return {
        "path": str(path),
        "encoder": str(manifest.fingerprint),
        "space": manifest.space,
        "pictures": manifest.count,
        "labels": dict(sorted(Counter(contents.labels).items())),
        "dim": manifest.fingerprint.dim,
        "stored_dtype": np.dtype(contents.dtype).name,
        "bytes": sum(file.stat().st_size for file in files),
        "corpus": manifest.image_root,
        "created": manifest.created,
        "program": manifest.program,
    }


def run_info(path: Path, as_json: bool) -> None:
    """Print the description of the index at `path` to standard output."""
    described = describe_index(path)
    if as_json:
        sys.stdout.write(json.dumps(described) + "\n")
        return
    counts: dict[str, int] = described.pop("labels")
    lines = [f"{name:<13} {value}" for name, value in described.items() if name != "bytes"]
    lines.append(f"{'size':<13} {described['bytes'] / 1e6:.1f} MB")
    lines.append(f"{'labels':<13} {len(counts)}, {min(counts.values())} to {max(counts.values())} pictures each")
    lines += [f"  {count:>7}  {label}" for label, count in counts.items()]
    sys.stdout.write("\n".join(printable(line) for line in lines) + "\n")
