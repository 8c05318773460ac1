"""Images are resized to whole visual tokens, within the budget of an image and of a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lmm_classifier.rerank.image_budget import VisualTokenBudget, visual_grid
from lmm_classifier.rerank.prompts import PromptVariant


def tokens(image):
    assert image.width % 28 == image.height % 28 == 0
    return image.width * image.height // 28**2


@pytest.mark.long
@given(st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900)), min_size=1, max_size=6), st.integers(16, 600))
def test_a_request_stays_within_its_budget(sizes, most):
    """Neither all images together nor any single image exceed their limits."""
    budget = VisualTokenBudget(least=4, most=200, most_per_request=most)
    fitted = budget.fit(PromptVariant(("text", *(Image.new("RGB", size) for size in sizes)), ("A",), (0,)))
    costs = [tokens(part) for part in fitted.parts if not isinstance(part, str)]
    assert len(costs) == len(sizes)
    assert sum(costs) <= most
    assert max(costs) <= 200
    assert fitted.parts[0] == "text"


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(4, 300), st.integers(4, 1300))
def test_visual_grid_stays_in_the_budget(width, height, least, most):
    """The grid has at least one token each way and no more than allowed, and roughly the aspect of the image."""
    least = min(least, most)
    across, down = visual_grid(width, height, 28, least, most)
    assert 1 <= across * down <= most
    assert (across >= down) == (width >= height) or abs(across - down) <= 1


@pytest.mark.parametrize(
    ("size", "grid"), [((56, 56), (2, 2)), ((560, 280), (20, 10)), ((28, 28), (8, 8)), ((28_000, 28), (1, 1))]
)
def test_visual_grid_examples(size, grid):
    """Tokens are 28 pixels a side; small images grow to the minimum, long ones are squeezed."""
    across, down = visual_grid(*size, 28, 4 if size == (56, 56) else 64, 1024)
    if size[0] < 20_000:
        assert (across, down) == grid
    else:
        assert across * down <= 1024
        assert across / down <= 110


@given(st.integers(1, 6000), st.integers(1, 6000))
def test_images_for_tiles_are_only_reduced(width, height):
    """A model that cuts tiles of its own gets a small image as it is, and a large one with about `most` pixels."""
    budget = VisualTokenBudget(least=64, most=100, most_per_request=4096, whole=False)
    (image,) = budget.fit(PromptVariant((Image.new("1", (width, height)),), ("A",), (0,))).parts
    limit = 100 * 28**2
    assert image.width <= width
    assert image.height <= height
    assert image.width * image.height <= limit * 1.05 + 1
    assert max(image.size) <= 105 * min(image.size)
    if width * height <= limit and max(width, height) <= 100 * min(width, height):
        assert image.size == (width, height)
