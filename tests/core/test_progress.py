"""Progress counts images, whatever is done with each of them."""

from lmm_classifier.core.progress import Progress, part_of


def test_an_image_counts_once_in_a_step_of_several_parts():
    """The total stays that of the images; the last part ends at it, and no part goes back."""
    seen = []
    for part in range(3):
        report = part_of(seen.append, part, 3)
        for done in (50, 100):
            report(Progress("scoring", done, 100))
    assert [(progress.done, progress.total) for progress in seen] == [
        (16, 100), (33, 100), (50, 100), (66, 100), (83, 100), (100, 100),
    ]  # fmt: skip
    part_of(seen.append, 1, 2)(Progress("reading", 7, None))
    assert (seen[-1].done, seen[-1].total) == (7, None)
    assert part_of(None, 0, 3) is None
