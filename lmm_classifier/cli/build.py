"""The command `build`."""

from __future__ import annotations

import json
from pathlib import Path

from lmm_classifier.cli.console import ProgressDisplay, goes_on_later, show_report
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.files import replacing_file
from lmm_classifier.index.build.builder import build_index_from_directory


def run_build(
    image_root: Path, output: Path | None, batch_size: int | None, config: PipelineConfig, report_path: Path | None
) -> int:
    """Build with progress and a closing table, as the command line does; 0 if all was indexed, 3 if some was not."""
    output = output or config.retrieval.index_path
    with goes_on_later(output), ProgressDisplay() as show:
        report = build_index_from_directory(image_root, output, batch_size or config.encoder.batch_size, config, show)
    show_report(report)
    if report_path is not None:
        with replacing_file(report_path) as temporary:
            temporary.write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="ascii")
    return 3 if report.failed else 0
