"""One line of the table: a fault, how often it was tried, and what was lost."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST_NOTES = 10


@dataclass
class Outcome:
    """The tries of one fault. `lost` counts all that must not happen; `notes` describe losses and measurements."""

    fault: str
    tried: int = 0
    survived: int = 0
    lost: int = 0
    notes: list[str] = field(default_factory=list)
    skipped: str = ""  # the reason why it could not be tried here

    def add(self, problem: str | None) -> None:
        """Count one try; None means that it ended as it should."""
        self.tried += 1
        if problem is None:
            self.survived += 1
        else:
            self.lost += 1
            if len(self.notes) < _MOST_NOTES:
                self.notes.append(problem)
