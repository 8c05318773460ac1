"""What a shell offers where a command line is not finished."""

from __future__ import annotations

from pathlib import Path


def complete_configuration(incomplete: str) -> list[str]:
    """Return the presets and the YAML files and folders that begin with `incomplete`."""
    from lmm_classifier.config import preset_names

    folder, _, start = incomplete.rpartition("/")
    parent = Path(folder or ("/" if incomplete.startswith("/") else "."))
    try:
        entries = sorted(parent.iterdir())
    except OSError:
        entries = []
    prefix = incomplete[: len(incomplete) - len(start)]
    files = [
        f"{prefix}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if entry.name.startswith(start) and (entry.is_dir() or entry.suffix in (".yaml", ".yml"))
    ]
    return [name for name in preset_names() if name.startswith(incomplete)] + files
