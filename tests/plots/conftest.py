"""Draw without a screen, and leave no figure open."""

import pytest


@pytest.fixture(autouse=True)
def _no_figures():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from matplotlib import pyplot

    former = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    pyplot.close("all")
    matplotlib.use(former)
