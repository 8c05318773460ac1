"""Damaged files of datasets: whatever their bytes are, what reads them says so clearly."""

from lmm_classifier.core.errors import DatasetError, ImageError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.file_content import read_bytes
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import open_dataset


def assert_clear_errors(path, data, changes, cut, announces_sizes=True):
    """Change bytes of a file and cut it: its images have the announced size, or an error of this program says why not.

    Args:
        path: where to write it.
        data: the sound bytes.
        changes: pairs of a place, taken modulo the length, and a byte.
        cut: bytes that are missing at the end.
        announces_sizes: whether the size of an image is known before it is read; else it is 0.
    """
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    path.write_bytes(damaged[: len(damaged) - cut])
    try:
        dataset = open_dataset(DatasetSpec(str(path)), ImagesConfig())
    except DatasetError:
        return
    for example in dataset.examples:
        place = dataset.root / example.path
        try:
            size = len(read_bytes(place, ImageLimits()))
            assert place.stat().st_size == (size if announces_sizes else 0)
        except ImageError:
            continue
