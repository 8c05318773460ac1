"""Answers that change the index: each is stored before its edit, so that a crash leaves both or none."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.core.labels import require_label
from lmm_classifier.data.places import Place
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.review.edits import Taught, edit_of, examples_of, take_back, teach
from lmm_classifier.review.images import file_of_item
from lmm_classifier.review.storage.answer_log import AnswerKind, AnswerLog, require_unlabeled
from lmm_classifier.review.storage.records import Answer, Item
from lmm_classifier.review.storage.run_store import RunStore

LOCK = "review.lock"  # in the folder of the index, held while an answer is edited into it
_WAIT = 30.0  # seconds to wait for another answer


class Decisions:
    """Takes answers about items and undoes them, in the index and in the stored runs."""

    def __init__(self, editor: IndexEditor, index_folder: Path, runs: RunStore, answers: AnswerLog) -> None:
        self._editor, self._folder, self._runs, self._answers = editor, index_folder, runs, answers

    def take(self, items: Sequence[int], kind: AnswerKind) -> Answer:
        """Take an answer that does not change the index; one that is taken already is returned as it is."""
        chosen = self._items(items)
        numbers = {item.decision.answer for item in chosen}
        if len(numbers) == 1 and (number := numbers.pop()):
            known = self._answers.answer(number)
            if known.state == "done" and known.kind == kind:
                return known
        return self._answers.take(chosen[0].run, kind, [item.id for item in chosen])

    def teach(self, items: Sequence[int], label: str) -> tuple[Answer | None, dict[int, str]]:
        """Add items as examples of a label; return the answer, and the items that were refused with the reason.

        Items that have this label already are passed over, so that the same request may be sent again.
        """
        label = require_label(label)
        asked = self._items(items)
        chosen = [item for item in asked if (item.decision.kind, item.decision.label) != ("label", label)]
        if not chosen:
            return self._answers.answer(asked[0].decision.answer), {}
        require_unlabeled({item.id: item.decision for item in chosen})
        known = examples_of(self._folder, {item.content_hash for item in chosen})
        files, refused = dict[int, Place](), dict[int, str]()
        source = self._runs.run(chosen[0].run).source
        for item in chosen:
            path, former = known.get(item.content_hash, ("", label))
            if former != label:
                refused[item.id] = f"The same image is an example of {former!r} ({path}). Relabel that example instead."
                continue
            try:
                files[item.id] = file_of_item(source, self._folder, item.name, item.content_hash)
            except ReviewError as error:
                refused[item.id] = str(error)
        if not files:
            return None, refused
        present = [digest for digest, (_, former) in known.items() if former == label]
        with self._alone():
            answer = self._answers.begin(chosen[0].run, label, list(files), present)
            try:
                taught = teach(self._editor, list(files.values()), label, _origin(answer))
            except BaseException:
                # whatever happened, the index tells whether the edit was made
                with suppress(Exception):
                    self._settle(answer)
                raise
            return self._finish(answer, taught, refused)

    def undo(self, number: int | None, run: int | None) -> Answer:
        """Take an answer back."""
        if number is None:
            newest = self._answers.newest(run)
            if newest is None:
                raise ReviewError("There is no answer to undo.")
            number = newest.id
        with self._alone():
            answer = self._answers.begin_undo(number)
            try:
                take_back(self._editor, Taught(answer.edit, answer.examples), _origin(answer))
            except BaseException:
                with suppress(Exception):
                    self._settle(answer)
                if self._answers.answer(number).state == "undone":  # somebody else took its edit back before
                    return self._answers.answer(number)
                raise
            return self._answers.finish_undo(answer)

    def follow(self, run: int, present: Collection[str]) -> int:
        """Take back the answers whose examples are gone, because their edit was undone elsewhere; return how many.

        Args:
            run: its answers.
            present: ids of the examples of the index.
        """
        gone = [
            answer.id
            for answer in self._answers.done_labels(run)
            if answer.examples and not any(example in present for example in answer.examples)
        ]
        for number in gone:
            with suppress(ReviewError), self._alone():  # a later answer may have decided the same items
                self._answers.finish_undo(self._answers.begin_undo(number))
        return len(gone)

    def recover(self) -> None:
        """Finish or drop the answers that a crash interrupted; those that another program is taking are left alone."""
        if not self._answers.interrupted():
            return
        with suppress(ReviewError), self._alone(wait=0):
            for answer in self._answers.interrupted():
                self._settle(answer)

    @contextmanager
    def _alone(self, wait: float = _WAIT) -> Iterator[None]:
        """Keep other threads and programs from taking answers that edit the index, and from settling this one."""
        lock = FileLock(self._folder / LOCK, timeout=wait)
        try:
            lock.acquire()
        except Timeout:
            raise ReviewError(
                f"Another answer has been edited into the index for {wait:g} seconds. Try again."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _settle(self, answer: Answer) -> None:
        """Let the stored answer agree with the index."""
        hashes = dict(zip(answer.items, self._runs.hashes_of(answer.items)))
        if answer.state == "teaching":
            known = examples_of(self._folder, set(hashes.values()) - set(answer.present))
            added = {digest: path for digest, (path, label) in known.items() if label == answer.label}
            if added:
                taught = Taught(edit_of(self._editor, _origin(answer)), tuple(sorted(added.values())))
                self._finish(answer, taught, {})
            else:
                self._answers.drop(answer)
            return
        known = examples_of(self._folder, set(hashes.values()))
        remaining = {path for path, _ in known.values()} & set(answer.examples)
        if remaining or not answer.examples:
            self._answers.keep(answer)
        else:
            self._answers.finish_undo(answer)

    def _finish(self, answer: Answer, taught: Taught, refused: dict[int, str]) -> tuple[Answer | None, dict[int, str]]:
        """Decide the items whose content the index now has under the label."""
        hashes = dict(zip(answer.items, self._runs.hashes_of(answer.items)))
        known = examples_of(self._folder, set(hashes.values()))
        items = [item for item, digest in hashes.items() if known.get(digest, ("", None))[1] == answer.label]
        refused |= {item: "The index did not take the image." for item in answer.items if item not in items}
        if not items:
            self._answers.drop(answer)
            return None, refused
        return self._answers.finish(answer, items, taught.edit, taught.examples), refused

    def _items(self, items: Sequence[int]) -> list[Item]:
        """Return items of one run, each once; raise ReviewError for none, or for those of several runs."""
        chosen = self._runs.items(list(dict.fromkeys(items)))
        if not chosen:
            raise ReviewError("An answer needs at least one item.")
        if len({item.run for item in chosen}) > 1:
            raise ReviewError("An answer is about items of one run. Answer for each run on its own.")
        unreadable = [item for item in chosen if item.result["reason"] == "unreadable"]
        if unreadable:
            raise ReviewError(f"Item {unreadable[0].id} is no readable image, so nothing can be decided about it.")
        return chosen


def _origin(answer: Answer) -> str:
    """Return what the journal of the index shows as the origin of an edit."""
    return f"review: run {answer.run}, answer {answer.id}"
