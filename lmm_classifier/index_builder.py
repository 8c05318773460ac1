"""The command `python -m lmm_classifier.index_builder`; `build_index_from_directory` can be imported from here too."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import typer

from lmm_classifier.cli.build import run_build
from lmm_classifier.cli.dataset_options import named_dataset
from lmm_classifier.cli.error_handling import exit_on_error
from lmm_classifier.cli.given_configuration import given_configuration
from lmm_classifier.cli.options import expanded, read_configuration
from lmm_classifier.index.build.builder import build_index_from_directory

__all__ = ["build_index_from_directory", "main"]


def main(arguments: list[str] | None = None) -> int:
    """Build an index as the command line asks, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m lmm_classifier.index_builder",
        description="Build an index from a folder of labeled images. The same as `lmm-classifier build`.",
        epilog="Exit codes: 0 all images indexed, 3 some images skipped, 1 failed, 2 wrong usage.",
    )
    parser.add_argument("dataset", help="labeled images: DATASET/<label>/**/*.jpg, an archive, a table or a URL")
    parser.add_argument("--output", type=Path, help="index to write (default: retrieval.index_path)")
    parser.add_argument("--batch-size", type=int, help="images per commit (default: encoder.batch_size)")
    parser.add_argument("--config", help="YAML file or preset (default: SigLIP)")
    parser.add_argument("--report", type=Path, help="write the report as JSON to this file")
    parser.add_argument("--replace", action="store_true", help="let the index become that of another dataset")
    options = parser.parse_args(arguments)
    try:
        with given_configuration(options.config, None), exit_on_error(debug=False):
            config = read_configuration(options.config)
            output, report = (expanded(name, getattr(options, name)) for name in ("output", "report"))
            return run_build(
                named_dataset(options.dataset), output, options.batch_size, config, report, options.replace
            )
    except typer.Exit as ended:
        return ended.exit_code


if __name__ == "__main__":
    sys.exit(main())
