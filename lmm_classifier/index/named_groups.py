"""The groups that a dataset names, such as a column of objects or of patients, read again from where it is."""

from __future__ import annotations

from collections.abc import Mapping

from lmm_classifier.core.errors import CalibrationError, LmmClassifierError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import open_dataset
from lmm_classifier.index.manifest import Manifest

BY_COLUMN = "column"  # groups are those that the dataset names


def named_groups(manifest: Manifest, group_by: str, images: ImagesConfig) -> Mapping[str, str] | None:
    """Return the group of each example by its id, None unless `group_by` is `column`.

    Raises:
        CalibrationError: the dataset cannot be opened now, or names no groups.
    """
    if group_by != BY_COLUMN:
        return None
    spec = DatasetSpec.from_stored(manifest.image_root)
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
