"""The groups that a dataset names, such as a column of objects: read again from where it is, or stored with vectors."""

from __future__ import annotations

from collections.abc import Mapping

from lmm_classifier.core.errors import CalibrationError, LmmClassifierError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import open_dataset
from lmm_classifier.index.contents import IndexContents

BY_COLUMN = "column"  # groups are those that the dataset names


def named_groups(contents: IndexContents, group_by: str, images: ImagesConfig) -> Mapping[str, str] | None:
    """Return the group of each example by its id, None unless `group_by` is `column`.

    Raises:
        CalibrationError: the dataset cannot be opened now, or names no groups.
    """
    if group_by != BY_COLUMN:
        return None
    if not contents.manifest.has_images:
        if not contents.groups:
            raise CalibrationError("The index was made of vectors without groups. Make it again with their groups.")
        return contents.groups
    spec = DatasetSpec.from_stored(contents.manifest.image_root)
    try:
        dataset = open_dataset(spec, images)
    except LmmClassifierError as error:
        raise CalibrationError(f"The groups are read from the dataset, which cannot be opened: {error}") from error
    if not dataset.groups:
        raise CalibrationError(
            f"The dataset {spec} names no groups. Build the index again with the column or the level of folders that "
            "holds them (group_from)."
        )
    return {example.path: group for example, group in zip(dataset.examples, dataset.groups)}
