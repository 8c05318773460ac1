"""The jobs of `sync`, `add`, `remove`, `relabel`, `export` and `import`: change an index, and tell what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from lmm_classifier.cli.console import ProgressDisplay, goes_on_later, printable, show_report
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CorpusError, IndexFileError
from lmm_classifier.core.files import replacing_file
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.image_folder import find_pictures
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.reports import Changes, EditReport
from lmm_classifier.index.formats import read_index, write_index

_NAMED = 10  # ids of a kind on the terminal


def run_sync(
    index: Path, corpus: Path | None, config: PipelineConfig, batch_size: int | None, report_to: Path | None
) -> int:
    """Bring an index and a corpus together; 0 if all was indexed, 3 if some was not."""
    with goes_on_later(index), ProgressDisplay() as show:
        report = IndexEditor(index, config).sync(corpus, batch_size, show)
    show_report(report)
    _write(report_to, json.dumps(report.to_dict(), indent=1))
    _tell(index, report.changes or Changes(), report.total, (), report.stale)
    return 3 if report.failed else 0


def run_add(index: Path, pictures: Sequence[Path], label: str, config: PipelineConfig, as_json: bool) -> int:
    """Teach the pictures in files and folders; 0 if all are in the index now, 3 if some are not."""
    files = [file for one in pictures for file in (find_pictures(one) if one.is_dir() else [one])]
    if not files:
        raise CorpusError(f"{', '.join(map(str, pictures))}: no picture file in there")
    return _edited(index, IndexEditor(index, config).add(files, label), as_json)


def run_remove(index: Path, examples: Sequence[str], label: str | None, config: PipelineConfig, as_json: bool) -> int:
    """Take examples out, named by ids or by their label; 0 if all are out, 3 if some were not there."""
    editor = IndexEditor(index, config)
    return _edited(index, editor.remove(_chosen(editor, examples, label)), as_json)


def run_relabel(
    index: Path, examples: Sequence[str], label: str | None, to: str, config: PipelineConfig, as_json: bool
) -> int:
    """Give examples, named by ids or by their label, another label; 0 if all have it, 3 if some were not there."""
    editor = IndexEditor(index, config)
    return _edited(index, editor.relabel(_chosen(editor, examples, label), to), as_json)


def run_copy(source: Path, output: Path) -> int:
    """Copy an index into the form that the name of `output` tells: a `.npz` file or a durable one."""
    if output.suffix != ".npz" and source.suffix != ".npz":
        raise IndexFileError(f"{source} and {output} are both durable indexes: one of them is to be a .npz file")
    contents = read_index(source)
    write_index(output, contents)
    sys.stdout.write(printable(f"{len(contents.paths)} examples of {source} are in {output} now") + "\n")
    return 0


def _chosen(editor: IndexEditor, examples: Sequence[str], label: str | None) -> list[str]:
    if not examples and label is None:
        raise IndexFileError("nothing is named: give the ids of examples, or --label for all of a label")
    if label is None:
        return list(examples)
    found = editor.examples_of(label)
    if not found:
        raise IndexFileError(f"no example has the label {label!r}")
    return [*examples, *found]


def _edited(index: Path, report: EditReport, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps(asdict(report)) + "\n")
    else:
        _tell(index, report.changes, report.pictures, report.skipped, report.stale)
    return 3 if any(one.kind != "present" for one in report.skipped) else 0


def _tell(index: Path, changes: Changes, count: int, skipped: Sequence[Skipped], stale: Sequence[str]) -> None:
    lines = [*_lines(changes), *(f"not done: {one.path}: {one.reason}" for one in skipped)]
    lines += [f"{index}: {count} examples", *(f"stale: {one}" for one in stale)]
    sys.stdout.write("\n".join(printable(line) for line in lines) + "\n")


def _lines(changes: Changes) -> Iterator[str]:
    kinds = {
        "added": changes.added,
        "removed": changes.removed,
        "replaced": changes.replaced,
        "renamed": [f"{before} -> {now}" for before, now in changes.renamed],
        "relabelled": [f"{path}: {before} -> {now}" for path, before, now in changes.relabelled],
        "left out, as they were removed by hand": changes.left_out,
    }
    for kind, names in kinds.items():
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            yield f"{len(names)} {kind}: {', '.join(names[:_NAMED])}{more}"
    yield f"{changes.unchanged} unchanged, {changes.encoded} encoded"


def _write(path: Path | None, text: str) -> None:
    if path is not None:
        with replacing_file(path) as temporary:
            temporary.write_text(text + "\n", encoding="ascii")
