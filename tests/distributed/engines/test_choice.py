"""An engine is chosen by its name, and a missing library is named."""

import sys

import pytest

from lmm_classifier.core.errors import ConfigError, MissingExtraError
from lmm_classifier.distributed.engines.choice import EngineChoice
from lmm_classifier.distributed.engines.local import Processes


def test_processes_are_chosen_with_their_number():
    """One by default; each has its part of the processors."""
    assert EngineChoice("processes", 3).open() == Processes(3)
    assert EngineChoice("processes").open() == Processes(1)
    assert EngineChoice("processes", 1000).threads() == 1
    assert EngineChoice("ray", 2, "auto").threads() == 0


@pytest.mark.parametrize("choice", [EngineChoice("spark"), EngineChoice(address="auto"), EngineChoice(actor_gpus=1)])
def test_a_choice_that_cannot_be_followed_is_refused(choice):
    """With what is expected."""
    with pytest.raises(ConfigError):
        choice.open()


def test_a_missing_ray_is_named(monkeypatch):
    """Before anything is listed."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lmm-classifier\[ray\]'"):
        EngineChoice("ray").open()
