"""The command `sync`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.completion import complete_place
from lmm_classifier.cli.options import FollowLinksOption, IndexOption, ReplaceFlag

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def sync(
    dataset: Annotated[
        str | None,
        typer.Argument(help="Where the dataset is now. [default: where it was]", autocompletion=complete_place),
    ] = None,
    index: IndexOption = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images per commit. [default: encoder.batch_size]")
    ] = None,
    recalibrate: Annotated[
        bool, typer.Option("--recalibrate", help="Then calibrate again, as the former calibration was asked for.")
    ] = False,
    follow_links: FollowLinksOption = None,
    report: Annotated[Path | None, typer.Option(help="Write what was changed and skipped to this JSON file.")] = None,
    replace: ReplaceFlag = False,
    *,
    config: PipelineConfig,
) -> int:
    """Bring an index up to date with its dataset.

    Images may have been added, removed, renamed or moved. No image is encoded twice.

    Exit codes: 0 done, 3 some images skipped, 1 failed.
    """
    from lmm_classifier.cli.console import command_progress, resumable, show_report
    from lmm_classifier.cli.edit_output import ORIGIN, print_changes
    from lmm_classifier.core.files import atomic_write, require_place
    from lmm_classifier.index.build.editor import IndexEditor
    from lmm_classifier.index.build.reports import Changes

    if follow_links:
        config.images.follow_links = follow_links
    path = index or config.retrieval.index_path
    require_place(report)
    with resumable(path), command_progress() as show:
        result = IndexEditor(path, config).sync(dataset, batch_size, show, replace, origin=ORIGIN)
    show_report(result)
    if report is not None:
        with atomic_write(report) as temporary:
            temporary.write_text(json.dumps(result.to_dict(), indent=1) + "\n", encoding="ascii")
    print_changes(path, result.changes or Changes(), result.total, (), result.stale, result.edit)
    if recalibrate:
        from lmm_classifier.cli.calibrate import print_calibration

        print_calibration(path, config)
    return 3 if result.failed else 0
