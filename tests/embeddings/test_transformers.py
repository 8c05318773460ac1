"""SigLIP, SigLIP 2 and CLIP, compared with transformers' own forward pass."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.checkpoints import HubOptions
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.embeddings.torch_runner import ForwardOptions
from lmm_classifier.embeddings.transformers import TransformersEncoder
from tests.helpers.command_line import run
from tests.helpers.datasets import draw_dataset

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

MODELS = {
    "siglip": transformers.SiglipModel,
    "siglip2": transformers.Siglip2Model,
    "clip": transformers.CLIPModel,
}
# the first numbers of the tiny SigLIP's vector of the image below, which is squashed, not cropped
GOLDEN = [-0.04775, 0.03722, -0.10528, -0.05926, 0.12843, -0.01867, -0.17688, -0.2135]


def image(seed=0, size=(120, 50)):
    """Return an image that is not square, so that a crop and a squash differ."""
    return draw("tartan", np.random.default_rng(seed), 128).resize(size, Image.Resampling.BICUBIC)


def encoder(folder, **options):
    return TransformersEncoder(str(folder), **{"dtype": "float32", "device": "cpu", **options})


def normalized(rows):
    rows = rows.detach().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_golden_vector(tiny_encoder):
    """The vector of an image that is not square does not change."""
    row = encode_images(encoder(tiny_encoder("siglip")), [image()])[0]
    np.testing.assert_allclose(row[:8], GOLDEN, atol=3e-4)  # two of 255 gray levels change it by as much


@pytest.mark.parametrize("kind", MODELS)
def test_image_tower_equals_transformers(tiny_encoder, kind):
    """Vectors have a cosine of at least 0.99999 with the library's own features of the same images."""
    ours = encoder(tiny_encoder(kind))
    images = [image(seed, size) for seed, size in enumerate([(120, 50), (50, 120), (56, 56), (400, 300)])]
    inputs = ours._library_processor()(images=images, return_tensors="pt")
    model = MODELS[kind].from_pretrained(tiny_encoder(kind)).eval()
    with torch.no_grad():
        theirs = normalized(model.get_image_features(**inputs).pooler_output)
    assert (encode_images(ours, images) * theirs).sum(axis=1).min() >= 0.99999


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("hub_layout", [False, True])
def test_text_tower_equals_transformers(tiny_encoder, kind, hub_layout):
    """Label names get the library's text features of lower-case text, padded as in the training of the family.

    With each family's own tokenizer too, in the files of the checkpoints on the hub.
    """
    folder = tiny_encoder(kind, hub_layout=hub_layout)
    ours = encoder(folder)
    texts = ["A photo of the Tartan cloth", "polka dots"]
    length = 77 if kind == "clip" else 64
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        [text.lower() for text in texts], padding="max_length", max_length=length, return_tensors="pt"
    )
    names = ["input_ids", "attention_mask"] if kind == "clip" else ["input_ids"]
    model = MODELS[kind].from_pretrained(folder).eval()
    with torch.no_grad():
        theirs = normalized(model.get_text_features(**{name: tokens[name] for name in names}).pooler_output)
    rows = ours.encode_texts(texts)
    assert (rows * theirs).sum(axis=1).min() >= 0.99999
    assert rows.shape[1] == ours.fingerprint.dim
    np.testing.assert_array_equal(ours.encode_texts(texts[1:]), rows[1:])


def test_siglip_2_of_one_size(tiny_encoder, tmp_path):
    """On the hub it is a SigLIP with the tokenizer of Gemma and a tower of one image size."""
    from tests.fixtures.make_tiny_encoders import _gemma

    folder = shutil.copytree(tiny_encoder("siglip", hub_layout=True), tmp_path / "siglip2")
    for name in ("spiece.model", "tokenizer_config.json"):
        (folder / name).unlink()
    _gemma(folder)
    texts = ["A Tartan cloth", "polka dots"]
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        [text.lower() for text in texts], padding="max_length", max_length=64, return_tensors="pt"
    )
    with torch.no_grad():
        model = transformers.SiglipModel.from_pretrained(folder).eval()
        theirs = normalized(model.get_text_features(input_ids=tokens["input_ids"]).pooler_output)
    assert (encoder(folder).encode_texts(texts) * theirs).sum(axis=1).min() >= 0.99999


def test_squash_and_crop(tiny_encoder):
    """SigLIP uses the whole image and CLIP its center, so only SigLIP depends on the ends of a long image."""
    image = Image.new("RGB", (200, 56), (128, 128, 128))
    ends = image.copy()
    ends.paste((255, 0, 0), (0, 0, 30, 56))
    for kind, differs in (("siglip", True), ("clip", False)):
        rows = encode_images(encoder(tiny_encoder(kind)), [image, ends])
        assert bool((rows[0] @ rows[1]) < 0.99999) == differs


def test_digest_names_the_weights(tiny_encoder, tmp_path):
    """The same weights in another folder are the same encoder; other weights or processing are another one."""
    first = encoder(tiny_encoder("siglip")).fingerprint
    copy = shutil.copytree(tiny_encoder("siglip"), tmp_path / "copy")
    assert encoder(copy).fingerprint.differences(first) == []
    assert encoder(tiny_encoder("siglip", seed=1)).fingerprint.differences(first) == ["model", "revision"]
    text = (copy / "preprocessor_config.json").read_text()
    (copy / "preprocessor_config.json").write_text(text.replace("0.5", "0.4"))
    assert encoder(copy).fingerprint.differences(first) == ["model", "revision", "preprocessing"]


def test_bfloat16_is_close(tiny_encoder):
    """The fingerprint names half precision, and a vector changes little."""
    exact, half = (encoder(tiny_encoder("siglip"), dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert half.fingerprint.dtype == "bfloat16"
    assert half.fingerprint.differences(exact.fingerprint) == []
    assert (encode_images(exact, [image()]) * encode_images(half, [image()])).sum() > 0.999
    assert encoder(tiny_encoder("siglip"), dtype="auto").fingerprint.dtype in ("float32", "bfloat16")


def test_weights_that_overflow_raise_an_error(tiny_encoder, tmp_path):
    """The error names the number type; no vector with infinite values is returned."""
    folder = shutil.copytree(tiny_encoder("siglip"), tmp_path / "broken")
    model = transformers.SiglipModel.from_pretrained(folder)
    with torch.no_grad():
        model.vision_model.post_layernorm.weight.fill_(float("inf"))
    model.save_pretrained(folder)
    with pytest.raises(EncoderError, match=r"encoder\.dtype: float32"):
        encode_images(encoder(folder), [image()])


@pytest.mark.parametrize("model", ["google/siglip-so400m-patch14-384", "/no/such/folder", "x"])
def test_a_model_that_cannot_be_loaded(model, tmp_path):
    """The error names the three remedies; no other encoder takes its place."""
    with pytest.raises(EncoderError) as caught:
        open_encoder(EncoderConfig(model=model, cache_dir=tmp_path))
    for part in (model, "copy the cache", "local folder", "preset lite", "preset offline"):
        assert part in str(caught.value)


def test_folders_that_are_no_checkpoint(tiny_encoder, tmp_path):
    """An empty folder, pickled weights, another architecture and cut weights are refused with the reason."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match=r"no config\.json"):
        encoder(tmp_path / "empty")
    folder = shutil.copytree(tiny_encoder("siglip"), tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="pickled weights are not loaded"):
        encoder(folder)
    folder = shutil.copytree(tiny_encoder("siglip"), tmp_path / "foreign")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(
        EncoderError, match="its model_type is bert, and which of its outputs is the embedding would be a guess"
    ):
        encoder(folder)
    folder = shutil.copytree(tiny_encoder("siglip"), tmp_path / "cut")
    (folder / "model.safetensors").write_bytes(b"\x10\0\0\0")
    with pytest.raises(EncoderError, match="cannot load"):
        encoder(folder)


@pytest.mark.parametrize("revision", [None, "main", "v1"])
def test_a_hub_name_is_found_in_the_cache(tiny_encoder, tmp_path, revision):
    """A model in the hub's cache is loaded by name without a network, at the configured revision."""
    cached = tmp_path / "models--someone--tiny-siglip"
    for name, commit, seed in (("main", "a" * 40, 0), ("v1", "b" * 40, 1)):
        shutil.copytree(tiny_encoder("siglip", seed=seed), cached / "snapshots" / commit)
        (cached / "refs").mkdir(exist_ok=True)
        (cached / "refs" / name).write_text(commit)
    loaded = TransformersEncoder("someone/tiny-siglip", HubOptions(revision, tmp_path), dtype="float32", device="cpu")
    expected = encoder(tiny_encoder("siglip", seed=1 if revision == "v1" else 0)).fingerprint
    assert loaded.fingerprint.differences(expected) == []
    assert loaded.fingerprint.model == "someone/tiny-siglip"
    with pytest.raises(EncoderError, match="Do one of three things"):
        TransformersEncoder("someone/tiny-siglip", HubOptions("v2", tmp_path))


def test_nothing_is_printed_while_loading(tiny_encoder, capfd):
    """The unused tower of a checkpoint is not reported."""
    encoder(tiny_encoder("siglip")).encode_texts(["cloth"])
    output = capfd.readouterr()
    assert output.out == output.err == ""


@pytest.mark.parametrize("batch", [1, 3, 8, 40])
def test_a_call_is_of_whole_batches(tiny_encoder, batch):
    """`batch_size` is a multiple of the images in a forward pass, and at least four passes or eight images."""
    size = encoder(tiny_encoder("siglip"), forward=ForwardOptions(batch)).batch_size
    assert size % batch == 0
    assert size >= max(8, 4 * batch)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the device exists")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_torch_does_not_have(tiny_encoder, device):
    """The advice is about torch and the setting, not about the checkpoint."""
    with pytest.raises(
        EncoderError, match=rf"encoder\.device: '{device}' is not available.*set it to auto or cpu"
    ) as caught:
        encoder(tiny_encoder("siglip"), device=device)
    assert "download" not in str(caught.value)


def test_code_of_a_checkpoint_is_never_run(tiny_encoder, tmp_path, monkeypatch):
    """A configuration that names code is refused, and nobody is asked on the terminal."""
    folder = shutil.copytree(tiny_encoder("siglip"), tmp_path / "code")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('the code of a checkpoint was run')")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks on the terminal"))
    with pytest.raises(EncoderError, match="cannot load the encoder"):
        encoder(folder, pooling="cls")


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@gpu
def test_cuda_agrees_with_the_cpu(tiny_encoder):
    """A GPU gives the same vectors up to rounding."""
    rows = [encode_images(encoder(tiny_encoder("siglip"), device=device), [image()]) for device in ("cpu", "cuda")]
    assert (rows[0] * rows[1]).sum() > 0.9999


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_row_on_cuda_does_not_depend_on_its_batch(tiny_encoder, kind, dtype):
    """Same bits alone, reversed and together, for images of several sizes; another batch size is close only."""
    images = [image(seed, (60 + 7 * seed, 200 - 4 * seed)) for seed in range(40)]
    ours = encoder(tiny_encoder(kind), device="cuda", dtype=dtype, forward=ForwardOptions(16))
    rows = encode_images(ours, images)
    np.testing.assert_array_equal(encode_images(ours, images[::-1])[::-1], rows)
    np.testing.assert_array_equal(encode_images(ours, images[7:8])[0], rows[7])
    halved = encoder(tiny_encoder(kind), device="cuda", dtype=dtype, forward=ForwardOptions(8))
    assert (encode_images(halved, images) * rows).sum(axis=1).min() > 0.9999


@pytest.mark.gpu
@gpu
def test_memory_on_cuda_is_flat(tiny_encoder):
    """Many calls hold no more than the first ones."""
    ours = encoder(tiny_encoder("siglip"), device="cuda", forward=ForwardOptions(8))
    preprocessed = [ours.preprocess(image(seed)) for seed in range(40)]
    for _ in range(3):
        ours.encode(preprocessed)
    reserved = torch.cuda.memory_reserved()
    for _ in range(40):
        ours.encode(preprocessed)
    assert torch.cuda.memory_reserved() == reserved


@pytest.mark.long
@pytest.mark.parametrize("library", ["google.protobuf", "sentencepiece"])
def test_a_tokenizer_without_its_library_names_it(tiny_encoder, tmp_path, library):
    """`build` needs no tokenizer; `calibrate` names the library, what to type, and the setting to go without."""
    draw_dataset(tmp_path / "dataset", count=4, size=48)
    folder = tiny_encoder("siglip", hub_layout=True)
    run("build", tmp_path / "dataset", "--output", tmp_path / "index", "--set", f"encoder.model={folder}")
    hidden = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.startswith('{library}'): raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "from lmm_classifier.cli.app import main\n"
        f"sys.argv = ['lmm-classifier', 'calibrate', {str(tmp_path / 'index')!r}, '--set', 'encoder.model={folder}']\n"
    )
    command = [sys.executable, "-c"]
    done = subprocess.run([*command, hidden + "main()"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert library.removeprefix("google.") in line
    assert "pip install 'lmm-classifier[siglip]'" in line
    assert "Set retrieval.zero_shot_text: off to calibrate without them." in line
    without = hidden + "sys.argv += ['--set', 'retrieval.zero_shot_text=off']\nmain()"
    done = subprocess.run([*command, without], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
