"""The hierarchy above the labels of an index: that of the configuration, or the folders of the dataset."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.label_hierarchy import LabelHierarchy, Steps, read_hierarchy
from lmm_classifier.core.labels import normal_label, unknown_clash
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import has_levels_of_folders
from lmm_classifier.index.contents import ADDED, IndexContents

logger: logging.Logger = logging.getLogger(__name__)


def open_hierarchy(
    config: PipelineConfig,
    contents: IndexContents,
    renamed: Mapping[str, str] | None = None,
    former: LabelHierarchy | None = None,
) -> LabelHierarchy | None:
    """Return the hierarchy in use, None where there is none. It may name labels that have no examples.

    Args:
        config: may name a file.
        contents: of the index.
        renamed: new names of labels by those of a former calibration: they stay where their former names stand.
        former: that of a former version of the index, while a classifier runs. It stays, with a warning, where the file
            cannot be used any more, so that a slip in the file stops no answer.

    Raises:
        ConfigError: the file cannot be used, or a coarse label cannot be told from the label of unknown images.
    """
    try:
        return _opened(config, contents, renamed or {})
    except ConfigError as error:
        if former is None:
            raise
        logger.warning("The hierarchy cannot be read again, so the former one stays: %s", error)
        return former.renamed(renamed or {})


def _opened(config: PipelineConfig, contents: IndexContents, renamed: Mapping[str, str]) -> LabelHierarchy | None:
    of_file = None if config.hierarchy is None else read_hierarchy(config.hierarchy)
    hierarchy = hierarchy_of_folders(contents) if of_file is None else of_file.renamed(renamed)
    if hierarchy and (message := unknown_clash(hierarchy.coarse_labels, config.unknown_label)):
        raise ConfigError(f"{config.hierarchy or contents.manifest.image_root}: {message}")
    return hierarchy


def hierarchy_of_folders(contents: IndexContents) -> LabelHierarchy | None:
    """Return the folders above the labels, where these were read with `label_from: path`; None for other datasets.

    A label stands below the folders of its examples, as long as one of them still lies in a folder with its name. One
    that has none, because it was renamed or is new, stands below the folders that all its examples share. Examples that
    were added by hand do not count.
    """
    spec = DatasetSpec.from_stored(contents.manifest.image_root)
    if spec.label_from != "path" or not has_levels_of_folders(spec):
        return None
    own, others = dict[str, set[Steps]](), dict[str, set[Steps]]()
    folders = {(path.rpartition("/")[0], label) for path, label in zip(contents.paths, contents.labels)}
    for folder, label in folders:
        *above, last = map(normal_label, folder.split("/"))
        if last and not f"{folder}/".startswith(ADDED):
            (own if last == label else others).setdefault(label, set()).add(tuple(above))
    labels = set(contents.labels)
    shared = {label: _shared(own.get(label) or others.get(label) or {()}) for label in labels}
    try:
        return LabelHierarchy({label: tuple(s for s in steps if s not in labels) for label, steps in shared.items()})
    except ConfigError as error:
        logger.warning("The folders of the dataset are not used as a hierarchy: %s.", error)
        return None


def _shared(places: set[Steps]) -> Steps:
    """Return the first steps that all places have in common."""
    first, *rest = sorted(places)
    last = rest[-1] if rest else first
    length = next((n for n, (one, other) in enumerate(zip(first, last)) if one != other), min(len(first), len(last)))
    return first[:length]
