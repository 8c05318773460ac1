"""The examples that an edit is about: named by their ids, and unchanged since the caller saw them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lmm_classifier.core.errors import ConflictError, DatasetError, LastExampleError
from lmm_classifier.core.labels import normal_label
from lmm_classifier.core.paths import expand_home
from lmm_classifier.core.progress import Skipped
from lmm_classifier.index.build.added_examples import dataset_folder, id_in_folder
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.records import Record
from lmm_classifier.index.storage.store import Store


def choose_examples(store: Store, examples: Iterable[str], manifest: Manifest) -> tuple[list[Record], list[Skipped]]:
    """Return the records of ids, or of the files of ids; anything else is skipped."""
    if isinstance(examples, str):
        raise DatasetError(f"Expected the ids of several examples, got only {examples!r}. Put it in a list.")
    chosen: dict[str, Record] = {}
    skipped = []
    for name in examples:
        record = store.record(name)
        if record is None and manifest.has_images:
            folder = dataset_folder(manifest)
            path = None if folder is None else id_in_folder(folder, expand_home(name))
            record = None if path is None else store.record(path)
        if record is not None:
            chosen[record.path] = record
        else:
            skipped.append(
                Skipped(name, "not an example of the index; give its id as `classify` shows it", "not_there")
            )
    return list(chosen.values()), skipped


def require_expected(store: Store, expected: Mapping[str, str] | None) -> None:
    """Raise ConflictError unless each of these examples has the label that the caller of an edit saw."""
    conflicts = {}
    for path, label in (expected or {}).items():
        record = store.record(path)
        if record is None or record.label != normal_label(label):
            conflicts[path] = label, None if record is None else record.label
    if conflicts:
        raise ConflictError.of(conflicts)


def require_some_remain(store: Store, fewer: int) -> None:
    """Raise LastExampleError if an edit that takes so many examples away would leave none."""
    count = 0 if store.state is None else int(store.state.manifest["count"])
    if fewer and fewer >= count:
        what = f"all {count} examples" if count > 1 else "the last example"
        raise LastExampleError(
            f"This would remove {what}, but an index needs one. Nothing was changed. Add another example first."
        )
