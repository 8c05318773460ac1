"""The command `runs`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmm_classifier.cli.options import IndexArgument, JsonFlag

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.discovery.drift.report import DriftReport
    from lmm_classifier.review.storage.records import Run
    from lmm_classifier.review.storage.run_store import RunStore


def runs(
    index: IndexArgument = None,
    results: Annotated[
        int | None, typer.Option(metavar="RUN", help="Write the results of a run with its decisions, as JSON lines.")
    ] = None,
    delete: Annotated[
        int | None, typer.Option(metavar="RUN", help="Delete a run with its results, answers and uploaded images.")
    ] = None,
    purge_before: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Delete the runs that started before this day."),
    ] = None,
    as_json: JsonFlag = False,
    *,
    config: PipelineConfig,
) -> int:
    """List the runs that a server keeps, or delete them.

    A run that is `interrupted` was under way when its server ended; a server can go on with it. Examples that a run
    taught stay in the index. An alarm of the drift test of a run is shown with the images that are most evidence.
    """
    from contextlib import closing
    from pathlib import Path

    from lmm_classifier.cli.console import escape_for_terminal
    from lmm_classifier.core.errors import ConfigError
    from lmm_classifier.review.active_runs import ActiveRuns
    from lmm_classifier.review.storage.database import ReviewDatabase
    from lmm_classifier.review.storage.drift_store import DriftStore
    from lmm_classifier.review.storage.run_store import RunStore
    from lmm_classifier.review.stored_runs import delete_runs, has_runs

    if sum(option is not None for option in (results, delete, purge_before)) > 1:
        raise ConfigError("Expected one of --results, --delete and --purge-before.")
    folder = index or config.retrieval.index_path
    if not has_runs(folder):
        sys.stdout.write("[]\n" if as_json else "no runs\n")
        return 0
    folder = Path(folder)
    with closing(ReviewDatabase(folder)) as database:
        store = RunStore(database)
        if results is not None:
            for line in _results(store, results):
                sys.stdout.write(line)
            return 0
        if delete is not None or purge_before is not None:
            deleted = [] if purge_before is None else store.started_before(purge_before)
            deleted += [] if delete is None else [store.run(delete).id]
            delete_runs(folder, store, deleted)
            sys.stdout.write((json.dumps(deleted) if as_json else f"{len(deleted)} runs deleted") + "\n")
            return 0
        active = ActiveRuns(folder)
        drift = DriftStore(database)
        listed = [(run, active.state_of(run), drift.report(run.id)) for run in store.runs()]
    if as_json:
        values = [{**run.to_dict(), "state": state, "drift": report} for run, state, report in listed]
        sys.stdout.write(json.dumps(values) + "\n")
    else:
        lines = [line for entry in listed for line in _lines(*entry)] or ["no runs"]
        sys.stdout.write("\n".join(map(escape_for_terminal, lines)) + "\n")
    return 0


def _results(store: RunStore, number: int) -> Iterator[str]:
    """Yield a line for each image of a run, as it is now."""
    store.run(number)
    change = 0
    while items := store.after(number, change):
        for item in items:
            yield json.dumps(item.to_dict()) + "\n"
        change = items[-1].change


def _lines(run: Run, state: str, drift: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the line of a run; after an alarm of its drift test also what the test says, indented."""
    from lmm_classifier.discovery.drift.report import DriftReport

    report = None if drift is None else DriftReport.from_dict(drift)
    source = run.source.get("folder", "uploaded images")
    counts = f"{run.items} images: {run.confident} confident, {run.decided} decided, {run.open} open"
    unreadable = f", {run.unreadable} unreadable" if run.unreadable else ""
    time = f"{datetime.fromisoformat(run.created).astimezone():%Y-%m-%d %H:%M}"
    yield f"{run.id}  {time}  {state}  {counts}{unreadable}  {_drift(report)}  {source}"
    if report is not None and report.is_alarm:
        yield from (f"    {line}" for line in report.lines)


def _drift(report: DriftReport | None) -> str:
    if report is None:
        return "drift not tested"
    return f"drift alarm at image {report.alarm_at}" if report.is_alarm else "no drift found"
