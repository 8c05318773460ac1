"""What encoders and GPUs are known to need and to do."""

import pytest

from benchmarks.real_shapes import Shape
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.distributed.capacity.hardware import ENCODERS, GPUS, encoder_shape, peak_tflops


@pytest.mark.parametrize("side", [384, 224])
def test_the_operations_are_those_of_a_tower_that_was_measured(side):
    """They agree with the count by which the benchmarks judge speed, within a part in a thousand."""
    measured = {384: Shape("", 384, 14, 1152, 4304, 27, 16), 224: Shape("", 224, 16, 768, 3072, 12, 12)}[side]
    name = {384: "google/siglip-so400m-patch14-384", 224: "google/siglip-base-patch16-224"}[side]
    assert 1e9 * encoder_shape(name).gflop == pytest.approx(measured.flops, rel=1e-3)


def test_a_known_gpu_is_found_in_any_case():
    """Names are written small in the table."""
    assert peak_tflops("H100") == GPUS["h100"]
    assert all(name == name.lower() for name in GPUS)
    assert all(shape.gflop > 1 for shape in ENCODERS.values())


def test_an_unknown_name_says_what_can_be_done():
    """It lists the known ones, and names the assumption that stands for another one."""
    with pytest.raises(ConfigError, match=r"'k80'.*h100.*gpu_tflops"):
        peak_tflops("k80")
    with pytest.raises(ConfigError, match=r"'mine'.*siglip.*encoder_gflop"):
        encoder_shape("mine")
