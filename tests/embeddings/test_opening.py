"""All encoders of a configuration are opened; two views of one model share it."""

import pytest

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.embeddings.opening import backends_of, close_encoders, open_encoders
from lmm_classifier.embeddings.view import CenterView
from tests.helpers.encoders import ColorEncoder, LayoutEncoder

BOTH_VIEWS = [{"backend": "descriptor"}, {"backend": "descriptor", "view": "center 0.5"}]


def test_views_of_one_model_share_it():
    """It is loaded once, and the order is that of the configuration."""
    whole, center = open_encoders(PipelineConfig(encoder=BOTH_VIEWS).encoders)
    assert isinstance(center, CenterView)
    assert center.encoder is whole
    center, whole = open_encoders(PipelineConfig(encoder=BOTH_VIEWS[::-1]).encoders)
    assert center.encoder is whole


def test_a_given_encoder_is_used_as_it_is():
    """One, or several in their order; nothing of the configuration is opened."""
    color, layout = ColorEncoder(), LayoutEncoder()
    configs = PipelineConfig().encoders
    assert open_encoders(configs, color) == (color,)
    assert open_encoders(configs, [layout, color]) == (layout, color)
    assert backends_of(configs, [layout, color]) == [("layout",), ("color",)]
    assert backends_of(PipelineConfig(encoder=BOTH_VIEWS).encoders) == [("descriptor",)] * 2


@pytest.mark.parametrize(
    "given",
    [
        iter([ColorEncoder()]),
        (encoder for encoder in [ColorEncoder()]),
        {ColorEncoder()},
        "descriptor",
        [None],
        ColorEncoder,
    ],
)
def test_what_is_no_encoder_is_refused(given):
    """The error says what is accepted, and what came."""
    with pytest.raises(ConfigError, match="expected an encoder, or a list or tuple of encoders, got"):
        open_encoders([], given)


@pytest.mark.parametrize("twice", [BOTH_VIEWS[:1] * 2, [BOTH_VIEWS[1], *BOTH_VIEWS]])
def test_the_same_encoder_twice_is_refused(twice):
    """Its vectors would count twice. The message names it."""
    with pytest.raises(ConfigError, match="encoder: .*descriptor.* give the same vectors. Name each encoder once"):
        open_encoders(PipelineConfig(encoder=twice).encoders)
    with pytest.raises(ConfigError, match="boxes.* give the same vectors"):
        open_encoders([], [ColorEncoder(), LayoutEncoder(), ColorEncoder()])


def test_no_encoder_is_refused():
    """By the list in Python and in the settings."""
    with pytest.raises(ConfigError, match="expected an encoder, got an empty list"):
        open_encoders([], [])
    with pytest.raises(ConfigError, match=r"^encoder: expected 1 or more"):
        PipelineConfig(encoder=[])


@pytest.mark.parametrize(
    ("backends", "said"), [(("descriptor",), True), (("descriptor", "onnx"), False), (("onnx", "descriptor"), False)]
)
def test_the_descriptor_alone_is_warned_about(backends, said, caplog, monkeypatch):
    """With a trained encoder it is what the presets recommend."""
    monkeypatch.setattr(
        "lmm_classifier.embeddings.opening.open_encoder",
        lambda config: LayoutEncoder() if config.backend == "onnx" else ColorEncoder(),
    )
    open_encoders(PipelineConfig(encoder=[{"backend": backend} for backend in backends]).encoders)
    assert ("weight-free descriptor" in caplog.text) == said


def test_closing_closes_the_model_of_a_view():
    """Once for each encoder; an encoder that cannot be closed is left alone."""

    class Model(ColorEncoder):
        closed = 0

        def close(self):
            self.closed += 1

    model = Model()
    close_encoders([LayoutEncoder(), CenterView(model, "center 0.5")])
    assert model.closed == 1
