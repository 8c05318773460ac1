"""Builds an index from a folder of labelled pictures: scan, decode, encode, fit the space, write."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lmm_classifier.cli.build import run_build
from lmm_classifier.cli.console import complain
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.logging_config import configure_logging


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m lmm_classifier.index_builder`: 0 all indexed, 3 some skipped, 1 failed, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m lmm_classifier.index_builder",
        description="Build an index from a folder of labelled pictures. The same as `lmm-classifier build`.",
        epilog="Exit codes: 0 all indexed, 3 some pictures skipped, 1 failed, 2 wrong usage.",
    )
    parser.add_argument("corpus", type=Path, help="folder of labelled pictures: CORPUS/<label>/**/*.jpg")
    parser.add_argument("--output", type=Path, help="index to write (default: retrieval.index_path)")
    parser.add_argument("--batch-size", type=int, help="pictures handled at a time (default: encoder.batch_size)")
    parser.add_argument("--config", type=Path, help="YAML configuration (default: SigLIP)")
    parser.add_argument("--report", type=Path, help="write the report as JSON to this file")
    asked = parser.parse_args(arguments)
    try:
        config = PipelineConfig.from_yaml(asked.config) if asked.config else PipelineConfig()
        configure_logging(config.logging.level, config.logging.json_lines, config.logging.file)
        return run_build(asked.corpus, asked.output, asked.batch_size, config, asked.report)
    except (LmmClassifierError, OSError) as error:
        complain(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
