"""Options of `classify` that `--server`, `--vectors` or `--engine` exclude, with the reason and what to do instead."""

from __future__ import annotations

from collections.abc import Mapping

import typer

_HERE = "Leave out --server and name the index with --index."
_OWN_RUNS = "Each run of the server has a drift test of its own: see its page Review, or GET /v1/runs."

OF_SERVER: Mapping[str, str] = {
    "--index": "the server has the index. Leave out one of them.",
    "--html": f"the page shows the examples, whose files the server has. {_HERE}",
    "--drift": f"the held-out examples that the images are compared with are in the index of the server. {_OWN_RUNS}",
    "--learn-from": f"the metric is fitted in the index, and the server answers others by it too. {_HERE}",
    "--estimate-priors": f"the server answers others too, whose images have other label frequencies. {_HERE}",
    "--leave-out-identical": f"the server classifies as it does for everyone. {_HERE}",
}

_IMAGES = "Leave it out, or give the images instead of --vectors."
_WRITTEN = "Choose jsonl, csv, parquet or a table."

OF_VECTORS: Mapping[str, str] = {
    "IMAGES": "the file of --vectors has all that is classified. Leave out the images.",
    "--files-from": "the file of --vectors has all that is classified. Leave out the list.",
    "--html": f"the page shows images. {_IMAGES}",
    "--copy-to": f"there are no files to copy. {_IMAGES}",
    "--link-to": f"there are no files to link to. {_IMAGES}",
    "--move": f"there are no files to move. {_IMAGES}",
    "--report": "it lists files that were skipped, and vectors have none. Count the results in --output instead.",
    "--server": f"vectors are classified by the index here. {_HERE}",
    "--learn-from": f"it encodes images. {_IMAGES}",
    "--estimate-priors": f"it encodes images. {_IMAGES}",
    "--leave-out-identical": f"it compares the bytes of image files. {_IMAGES}",
    "--resume": "vectors are classified in seconds. Use --overwrite.",
    "--with-images": f"there are no image files. {_IMAGES}",
    "--format label-studio": f"a task shows an image. {_WRITTEN}",
    "--format fiftyone": f"a sample is an image. {_WRITTEN}",
}

_ALONE = "Leave out --engine."

OF_ENGINE: Mapping[str, str] = {
    "--server": f"the server classifies, and has workers of its own. {_ALONE}",
    "--vectors": f"vectors are classified in seconds. {_ALONE}",
    "--learn-from": f"the metric is fitted in this process, and workers do not have it. {_ALONE}",
    "--estimate-priors": f"the frequencies are estimated in this process, and workers do not have them. {_ALONE}",
}


def require_none(option: str, excluded: Mapping[str, str], given: Mapping[str, object]) -> None:
    """Raise BadParameter for the first option that another one excludes.

    Args:
        option: that is given, such as `--server`.
        excluded: the options that it excludes, each with the reason and what to do; all of them are in `given`.
        given: by the name of each option, what was given for it.
    """
    for name, value in given.items():
        if value:
            raise typer.BadParameter(f"{option} excludes {name}: {excluded[name]}")
