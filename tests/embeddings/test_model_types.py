"""Every known model type gives the embeddings of the library's own forward pass; others are not guessed."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.protocols import TextEncoder
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.model_types import MODEL_TYPES
from lmm_classifier.embeddings.transformers import TransformersEncoder
from lmm_classifier.testing import check_encoder

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from tests.fixtures.make_tiny_towers import SIDE, TOWERS, make  # noqa: E402 - it needs torch

KNOWN = [kind for kind in TOWERS if kind in MODEL_TYPES]
# one of each way of loading, and of each output; the others run in the long tests
FIRST = ("metaclip_2", "align", "dinov3_vit", "convnextv2", "ijepa", "resnet")
OTHER = {"vit_msn": "cls", "swin": "mean", "resnet": "pooler"}
TEXTS = ["a photo of the tartan", "polka dots"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Return a function that makes a tiny checkpoint, once each."""
    made = {}

    def make_once(kind):
        if kind not in made:
            made[kind] = make(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return make_once


def encoder(folder, **options):
    return TransformersEncoder(str(folder), **{"dtype": "float32", "device": "cpu", **options})


def images():
    sizes = ((120, 50), (50, 121), (56, 56))
    return [draw("tartan", np.random.default_rng(n), 128).resize(size) for n, size in enumerate(sizes)]


def pixel_values(folder, kind):
    """Return the values of the library's own image processor, or for those without one, of the same steps in Pillow."""
    if kind not in ("dinov3_vit", "dinov3_convnext", "tipsv2"):
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        return processor(images=images(), return_tensors="pt")["pixel_values"]
    resized = [image.resize((SIDE, SIDE), Image.Resampling.BILINEAR) for image in images()]
    values = torch.from_numpy(np.stack([np.asarray(image) for image in resized])).permute(0, 3, 1, 2) / 255
    if kind == "tipsv2":
        return values
    mean, std = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    return (values - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def own_forward(folder, kind):
    """Return the embeddings and the text embeddings (or None) of the whole model, as its documentation says."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    values = pixel_values(folder, kind)
    with torch.no_grad():
        if not TOWERS[kind][3]:
            output = model(pixel_values=values)
            tokens = output.last_hidden_state
            cls = kind in ("dinov2", "dinov2_with_registers", "dinov3_vit", "vit", "vit_msn")
            mean = kind in ("ijepa", "swin")
            rows = tokens[:, 0] if cls else tokens.mean(dim=1) if mean else output.pooler_output.flatten(1)
            return unit(rows), None
        tokens = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
        named = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        texts = model.get_text_features(**named).pooler_output
        return unit(model.get_image_features(pixel_values=values).pooler_output), unit(texts)


def unit(rows):
    return (rows / rows.norm(dim=1, keepdim=True)).numpy()


@pytest.mark.parametrize(
    "kind", [kind if kind in FIRST else pytest.param(kind, marks=pytest.mark.long) for kind in (*KNOWN, *OTHER)]
)
def test_embeddings_are_those_of_the_models_own_forward_pass(checkpoint, kind):
    """Images have a cosine of 0.9999 with the library's own, texts of 0.99999; without a text tower none is claimed."""
    ours = encoder(checkpoint(kind), pooling=OTHER.get(kind, "auto"))
    rows, texts = own_forward(checkpoint(kind), kind)
    assert (encode_images(ours, images()) * rows).sum(axis=1).min() >= 0.9999
    assert abs(rows @ rows.T - 1).max() > 1e-3, "all images look the same, so the comparison says nothing"
    assert ours.fingerprint.dim == rows.shape[1]
    assert isinstance(ours, TextEncoder) == (texts is not None)
    if texts is not None:
        assert (ours.encode_texts(TEXTS) * texts).sum(axis=1).min() >= 0.99999


@pytest.mark.long
@pytest.mark.parametrize("kind", [*KNOWN, *OTHER])
def test_every_type_follows_the_protocol(checkpoint, kind):
    """A row has the same bits in any batch, and images of any shape have an embedding."""
    check_encoder(encoder(checkpoint(kind), pooling=OTHER.get(kind, "auto")))


def test_every_known_type_is_tested():
    """A type of the table is here or in the tests of SigLIP and CLIP; the tower of a pair is tested with the pair."""
    elsewhere = {"siglip", "siglip2", "clip", "siglip_vision_model", "siglip2_vision_model"}
    elsewhere |= {"clip_vision_model", "metaclip_2_vision_model"}
    assert set(MODEL_TYPES) == {*KNOWN, *elsewhere}


def test_what_would_be_a_guess_is_refused(checkpoint):
    """The error of an unknown type names the setting and its values."""
    for kind in OTHER:
        with pytest.raises(EncoderError, match=rf"its model_type is {kind}.*guess.*Set encoder.pooling to `features`"):
            encoder(checkpoint(kind))


@pytest.mark.parametrize(
    ("kind", "pooling", "reason"),
    [
        ("vit_mae", "cls", "another vector each time"),
        ("ijepa", "pooler", "no pooler; set encoder.pooling to cls or mean"),
        ("resnet", "cls", "no class token; set encoder.pooling to pooler or mean"),
        ("dinov2", "features", "no image features; set encoder.pooling to pooler, cls or mean"),
    ],
)
def test_an_output_that_a_model_does_not_have(checkpoint, kind, pooling, reason):
    """It is refused when the encoder is opened, with what can be set."""
    with pytest.raises(EncoderError, match=reason):
        encoder(checkpoint(kind), pooling=pooling)


def test_a_model_that_takes_no_images(tmp_path, checkpoint):
    """A text model is refused, whatever pooling is asked for."""
    config = transformers.BertConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=9
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    shutil.copy(checkpoint("vit") / "preprocessor_config.json", tmp_path)
    with pytest.raises(EncoderError, match="its forward pass over an image failed"):
        encoder(tmp_path, pooling="cls")


def test_mean_leaves_out_class_and_register_tokens(checkpoint):
    """`mean` is of the image tokens: the five others of DINOv3 come first."""
    folder = checkpoint("dinov3_vit")
    rows = encode_images(encoder(folder, pooling="mean"), images())
    with torch.no_grad():
        tokens = transformers.AutoModel.from_pretrained(folder).eval()(pixel_values(folder, "dinov3_vit"))
    assert tokens.last_hidden_state.shape[1] == 1 + 4 + 16
    assert (rows * unit(tokens.last_hidden_state[:, 5:].mean(dim=1))).sum(axis=1).min() >= 0.9999


@pytest.mark.parametrize("pooling", ["mean", *(pytest.param(p, marks=pytest.mark.long) for p in ("pooler", "cls"))])
def test_another_output_of_a_pair_is_in_the_space_of_no_text(tiny_encoder, pooling):
    """CLIP's image tower alone: label names are not embedded, and the fingerprint differs."""
    ours = encoder(tiny_encoder("clip"), pooling=pooling)
    model = transformers.CLIPModel.from_pretrained(tiny_encoder("clip")).eval().vision_model
    values = torch.from_numpy(ours.preprocessing.scaled([ours.preprocess(image) for image in images()]))
    with torch.no_grad():
        output = model(pixel_values=values)
    tokens = output.last_hidden_state
    expected = {"pooler": output.pooler_output, "cls": tokens[:, 0], "mean": tokens[:, 1:].mean(dim=1)}[pooling]
    assert (encode_images(ours, images()) * unit(expected)).sum(axis=1).min() >= 0.9999
    assert not isinstance(ours, TextEncoder)
    assert ours.fingerprint.differences(encoder(tiny_encoder("clip")).fingerprint) == ["preprocessing", "dim"]


def test_the_fingerprint_says_pooling_where_it_is_not_the_default(checkpoint):
    """The default by name and `auto` are one encoder."""
    folder = checkpoint("dinov2")
    automatic, named, mean = (encoder(folder, pooling=pooling).fingerprint for pooling in ("auto", "cls", "mean"))
    assert automatic == named
    assert "pooling" not in automatic.preprocessing
    assert json.loads(mean.preprocessing)["pooling"] == "mean"
    assert mean.differences(automatic) == ["preprocessing"]


def test_free_aspect_has_no_mean(tiny_encoder):
    """Tokens of NaFlex that only pad an image must not count; the error says what works."""
    with pytest.raises(EncoderError, match="set encoder.pooling: auto"):
        encoder(tiny_encoder("siglip2"), pooling="mean")
