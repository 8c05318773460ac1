"""One run of `classify`: what a file holds already is skipped, every other result is written as soon as it is there."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lmm_classifier.cli.classify_output import AnyOutput
from lmm_classifier.cli.console import command_progress, escape_for_terminal, print_skipped
from lmm_classifier.cli.drift_file import drift_log
from lmm_classifier.cli.image_sources import STDIN, ImageSources
from lmm_classifier.cli.interruption import told_if_interrupted
from lmm_classifier.cli.quiet import write_note
from lmm_classifier.cli.stored_results import StoredResult, outcome
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.concurrency import threaded_map
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.files import atomic_write, content_hash
from lmm_classifier.core.progress import Progress, ProgressCallback, Skipped
from lmm_classifier.data.images import hash_of
from lmm_classifier.data.label_folders import LabelFolders
from lmm_classifier.data.places import Place, exists
from lmm_classifier.data.readers.crops import Crop
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.discovery.drift.drift_log import DriftLog
from lmm_classifier.discovery.drift.stream_order import in_stream_order
from lmm_classifier.distributed.engines.choice import EngineChoice
from lmm_classifier.evaluation.reports.run_page import RunPage
from lmm_classifier.integrations.exports.image_access import NO_URL
from lmm_classifier.pipeline.adapting.reports import LearningReport, PriorReport
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.run_identity import run_identity
from lmm_classifier.pipeline.stages.answer_options import ANY, AnswerOptions

_LISTED = 20  # files that cannot be read, shown one by one

_NO_BOXES = (
    "the examples of this index are boxes, and the images have none: a whole photograph is mostly unknown. Give their "
    "boxes too, from a detector: classify coco:FILE@IMAGES"
)

_Classify = Callable[[list[Place]], Iterator[Classification]]


@dataclass
class ClassifyRun:
    """One run over `sources`; `run` returns the counts by outcome, of stored results too."""

    sources: ImageSources
    output: AnyOutput
    sorter: LabelFolders | None = None
    html: Path | None = None
    options: AnswerOptions = ANY
    drift: Path | None = None  # the file of a drift test
    learn_from: ImageSources | None = None  # unlabeled images that may help to fit the metric
    estimate_priors: bool = False  # from the images that are classified
    engine: EngineChoice | None = None  # whose workers classify; None: this process
    counts: Counter[str] = field(default_factory=Counter)
    _log: DriftLog | None = None
    _adaptations: list[LearningReport | PriorReport] = field(default_factory=list)
    kept: int = 0  # images whose result was stored already
    unreadable: list[str] = field(default_factory=list)  # files that could not be read, each with the reason

    def run(self, config: PipelineConfig, leave_out_identical: bool, server: str | None = None) -> Counter[str]:
        """Classify all images, here or by a server; on an interruption say what is there."""
        has_boxes = any(isinstance(place, Crop) for place in self.sources.paths)
        if has_boxes and self.output.format == "label-studio":
            raise OutputError(f"Some of the images are boxes. {NO_URL}")
        started = time.monotonic()
        page = RunPage()
        with told_if_interrupted(lambda: f"Interrupted. {self.output.state()}"):
            opened = self._opened(config, leave_out_identical, server)
            warnings = [*self.sources.warnings, *([_NO_BOXES] if opened.of_boxes and not has_boxes else [])]
            for warning in warnings if self.sources.paths else ():
                write_note(f"warning: {escape_for_terminal(warning)}")
            try:
                output = self.output.opened(opened.identity, opened.labels(), opened.has_levels)
                with output, drift_log(self.drift, opened.classifier) as self._log, command_progress() as show:
                    count = self._classify(opened.classify, config.images.readers, page, show)
            except Exception:
                if self.output.written:
                    sys.stderr.write(escape_for_terminal(self.output.state()) + "\n")
                raise
            if self.html is not None:
                page.write(self.html, "Classified images", self._figures(), opened.file_of(), config.images.limits)
        self._summarize(count, time.monotonic() - started)
        return self.counts

    def _opened(self, config: PipelineConfig, leave_out_identical: bool, server: str | None) -> _Opened:
        if server is not None:
            from lmm_classifier.cli.remote_classifier import RemoteClassifier

            remote = RemoteClassifier(server, config)
            of_remote = remote.classify_paths, remote.run_identity
            return _Opened(*of_remote, lambda: Path, tuple, None, remote.has_levels)
        classifier = HybridClassifier(config)
        if self.learn_from is not None:
            self._adaptations.append(classifier.learn_from(self.learn_from.paths))
        if self.estimate_priors:
            self._adaptations.append(classifier.estimate_priors(self.sources.paths))
        classify: _Classify = partial(
            classifier.classify_paths, leave_out_identical=leave_out_identical, options=self.options
        )
        if self.engine is not None:
            from lmm_classifier.distributed.answering.classification import EngineClassifier

            engine, threads = self.engine.open(), self.engine.threads()
            common = leave_out_identical, self.options, threads
            workers = EngineClassifier(
                config, engine, *common, work=self.engine.work, identity=run_identity(classifier)
            )
            classify = workers.classify_paths
        return _Opened(
            classify,
            run_identity(classifier, leave_out_identical),
            lambda: classifier.index.contents.file_of,
            lambda: classifier.index.label_names,
            classifier,
            classifier.roll_up is not None,
            DatasetSpec.from_stored(classifier.index.manifest.image_root).has_boxes,
        )

    def _classify(self, classify: _Classify, readers: int, page: RunPage, show: ProgressCallback) -> int:
        """Classify what has no stored result, and return the number of these images."""
        paths = list(self._not_stored(readers, show))
        if self._log is not None and not self.sources.is_list:
            paths = in_stream_order(paths, str)
        with closing(self._results(classify, paths)) as results:
            for done, (path, result) in enumerate(results, start=1):
                self._use(path, result, page)
                if not self.output.shows_progress:
                    show(Progress("classifying", done, len(paths), self.counts["unreadable"]))
        return len(paths)

    @property
    def skipped(self) -> list[Skipped]:
        """Return what was not used: files that were passed over, and images that could not be sorted."""
        unlabeled = self.learn_from.skipped if self.learn_from else ()
        unsorted = self.sorter.problems if self.sorter else ()
        return [*self.sources.skipped, *unlabeled, *unsorted, *self.output.problems]

    def write_report(self, path: Path) -> None:
        """Write counts and all skipped files as JSON."""
        values: dict[str, Any] = {
            "images": sum(self.counts.values()),
            "outcomes": dict(self.counts),
            "stored_before": self.kept,
            "given_more_than_once": self.sources.repeated,
            "sorted": dict(self.sorter.counts) if self.sorter else None,
            "unreadable": self.unreadable,
            "skipped": [{"path": file.path, "reason": file.reason, "kind": file.kind} for file in self.skipped],
            **{report.kind: report.to_dict() for report in self._adaptations},
            **({"drift": self._log.test.report().to_dict()} if self._log else {}),
        }
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="ascii")

    def _not_stored(self, threads: int, show: ProgressCallback) -> Iterator[Place]:
        """Yield the images without a stored result of the same content; a failure that is stored is tried again."""
        stored = self.output.stored.by_path
        check = [path for path in self.sources.paths if self._name(path) in stored]
        digests = threaded_map(_digest, check, threads)
        for number, path in enumerate(self.sources.paths):
            result = stored.get(self._name(path))
            if result is None:
                yield path
                continue
            digest = next(digests)
            show(Progress("comparing with stored results", number + 1, len(self.sources.paths)))
            if digest is None and not _is_there(path):  # moved or removed since; its result stays
                self._keep(result)
            elif digest != (result.content_hash or None) or result.outcome == "unreadable":
                yield path
            else:
                self._keep(result)
                if self.sorter is not None and digest is not None:
                    self.sorter.place(path, result.label, digest)

    def _keep(self, result: StoredResult) -> None:
        self.kept += 1
        self.counts[result.outcome] += 1
        if result.outcome == "unreadable":
            self.unreadable.append(f"{result.path}: it is still missing")

    def _results(self, classify: _Classify, paths: list[Place]) -> Generator[tuple[Place, Classification], None, None]:
        for result, path in zip(classify(paths), paths):  # results first: so they learn that the last one was taken
            if path == self.sources.stdin:
                error = result.error.replace(str(path), str(STDIN)) if result.error else result.error
                yield path, replace(result, path=str(STDIN), error=error)
            else:
                yield path, result

    def _use(self, path: Place, result: Classification, page: RunPage) -> None:
        group = outcome(result.decision.reason, result.is_unknown)
        self.counts[group] += 1
        if group == "unreadable":
            self.unreadable.append(result.error or str(path))
        stored = self.output.stored.by_path.get(str(result.path))
        failed_again = group == "unreadable" and stored is not None and stored.outcome == group
        if self._log is not None and result.familiarity is not None and result.content_hash is not None:
            # before its result: so no image with a result is missing here after a kill
            self._log.observe(str(result.path), result.content_hash, result.familiarity)
        if not (failed_again and stored is not None and stored.content_hash == (result.content_hash or "")):
            self.output.write(result, path)
        if self.html is not None:
            page.add(path, result, group)
        if self.sorter is None or group == "unreadable" or result.content_hash is None:
            return
        if path == self.sources.stdin:
            self.sorter.problems.append(Skipped(str(STDIN), "standard input has no file to sort", "not_sorted"))
        else:
            self.sorter.place(path, result.label, result.content_hash)

    def _name(self, path: Place) -> str:
        return str(STDIN if path == self.sources.stdin else path)

    def _figures(self) -> list[tuple[str, str]]:
        figures = [("images", str(sum(self.counts.values())))]
        figures += [(name, str(count)) for name, count in self.counts.items()]
        figures += [(report.kind.replace("_", " "), report.text.partition(": ")[2]) for report in self._adaptations]
        if self._log is not None:
            figures.append(("drift", self._log.test.report().text.removeprefix("drift: ")))
        return [*figures, ("of a former run, not shown", str(self.kept))] if self.kept else figures

    def _summarize(self, count: int, seconds: float) -> None:
        """Print what was done, and everything that was skipped."""
        outcomes = ", ".join(f"{number} {name}" for name, number in self.counts.items())
        rate = f"{seconds:.1f} s ({count / max(seconds, 1e-9):.1f}/s)"
        lines = [f"{sum(self.counts.values())} images: {outcomes or 'nothing left to do'}; {rate}"]
        if self.kept:
            lines.append(f"{self.kept} of them were in {self.output.path} already")
        if self.sources.repeated:
            lines.append(f"{self.sources.repeated} were given more than once")
        if self.sorter is not None:
            done = ", ".join(f"{number} {what}" for what, number in self.sorter.counts.items()) or "nothing"
            lines.append(f"{self.sorter.root}: {done}")
            for label, folder in self.sorter.folders.items():
                if folder.name != label:
                    lines.append(f"the folder of {label!r} is {folder.name!r}")
        lines += [report.text for report in self._adaptations]
        lines += self._log.test.report().lines if self._log else []
        lines += [f"not readable: {reason}" for reason in self.unreadable[:_LISTED]]
        if len(self.unreadable) > _LISTED:
            lines.append(f"and {len(self.unreadable) - _LISTED} more that are not readable")
        write_note("\n".join(escape_for_terminal(line) for line in lines))
        print_skipped(self.skipped)


@dataclass(frozen=True)
class _Opened:
    """What classifies files, here or by a server."""

    classify: _Classify
    identity: str  # of its runs
    file_of: Callable[[], Callable[[str], Place]]  # returns what returns the file of an example
    labels: Callable[[], Sequence[str]]  # of the index; of that of a server none are known
    classifier: HybridClassifier | None  # None for a server
    has_levels: bool  # of a hierarchy above the labels
    of_boxes: bool = False  # whether the examples are boxes in images


def _digest(place: Place) -> str | None:
    try:
        return content_hash(place) if isinstance(place, Path) else hash_of(place, place.read_bytes())
    except (OSError, ValueError):
        return None


def _is_there(place: Place) -> bool:
    return os.path.lexists(place) if isinstance(place, Path) else exists(place)
