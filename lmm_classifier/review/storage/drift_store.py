"""The drift test of each run, on disk: the tested images batch by batch, and what the test says after each batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lmm_classifier.discovery.drift.drift_log import line_of, parsed_line
from lmm_classifier.discovery.drift.drift_test import TestedImage
from lmm_classifier.discovery.drift.report import DriftReport
from lmm_classifier.index.storage.database import encoded
from lmm_classifier.review.storage.database import ReviewDatabase
from lmm_classifier.review.storage.records import as_bytes, from_bytes
from lmm_classifier.review.storage.tables import DRIFT, DRIFT_REPORTS


class DriftStore:
    """The tested images of runs."""

    def __init__(self, database: ReviewDatabase) -> None:
        self.database: ReviewDatabase = database

    def add(self, run: int, images: Sequence[TestedImage], report: DriftReport) -> None:
        """Append tested images, with the state after them."""
        lines = "".join(map(line_of, images)).encode("ascii")
        with self.database.writing() as connection:
            batch = DRIFT.put(connection, (run, lines))
            DRIFT_REPORTS.put(connection, (run, batch, int(report.is_alarm), as_bytes(report.to_dict())))

    def images(self, run: int) -> Iterator[TestedImage]:
        """Yield the tested images of a run in order."""
        with self.database.reading() as connection:
            rows = list(DRIFT.rows(connection, "WHERE run = ? ORDER BY id", (run,)))
        for _, _, lines in rows:
            yield from map(parsed_line, lines.decode("ascii").splitlines())

    def report(self, run: int) -> dict[str, Any] | None:
        """Return what the test of a run says, as `DriftReport.to_dict` tells; None where nothing was tested."""
        return self._report("WHERE run = ?", (run,))

    def items_named(self, number: int, names: Iterable[str]) -> dict[str, tuple[int, str]]:
        """Return the id and the content hash of items of a run by their names; of several with one name, the first."""
        statement = "SELECT id, hash FROM items WHERE run = ? AND name = ? AND hash != x'' ORDER BY id LIMIT 1"
        found = dict[str, tuple[int, str]]()
        with self.database.reading() as connection:
            for name in names:
                for item, content_hash in connection.execute(statement, (number, encoded(name))):
                    found[name] = item, content_hash.decode("ascii")
        return found

    def newest(self) -> dict[str, Any] | None:
        """Return what the test of the run says that was under way last."""
        return self._report("ORDER BY batch DESC LIMIT 1", ())

    def alarms(self) -> int:
        """Return how many runs had an alarm."""
        with self.database.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM drift_reports WHERE alarm = 1").fetchone()[0])

    def _report(self, where: str, values: Sequence[object]) -> dict[str, Any] | None:
        with self.database.reading() as connection:
            for row in DRIFT_REPORTS.rows(connection, where, values):
                return from_bytes(row[-1])
        return None
