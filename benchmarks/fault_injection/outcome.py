"""One line of the table: a fault, how often it was tried, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """`lost` counts everything that should not have happened; `notes` say what it was, or what was measured."""

    fault: str
    tried: int = 0
    survived: int = 0
    lost: int = 0
    notes: list[str] = field(default_factory=list)
    skipped: str = ""  # why it could not be tried here

    def add(self, problem: str | None) -> None:
        """Count one try; None is one that ended as it should."""
        self.tried += 1
        if problem is None:
            self.survived += 1
        else:
            self.lost += 1
            if len(self.notes) < 10:
                self.notes.append(problem)
