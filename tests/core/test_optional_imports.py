"""A missing library raises an error that says what to type, and the named extra exists."""

import re
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from lmm_classifier.core.errors import LmmClassifierError, MissingExtraError
from lmm_classifier.core.optional_imports import import_attribute, import_optional
from tests.helpers.paths import ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def test_a_missing_library_names_the_extra():
    """The message holds the exact command, and the error is an ImportError too."""
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'lmm-classifier[onnx]'")) as caught:
        import_optional("no_such_library.part", "onnx")
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, LmmClassifierError)
    assert "'no_such_library'" in str(caught.value)


def test_a_missing_module_of_the_package_is_no_missing_extra():
    """It is reported as what it is: a mistake of the package."""
    with pytest.raises(ModuleNotFoundError) as caught:
        import_optional("lmm_classifier.no_such_room", "onnx")
    assert not isinstance(caught.value, MissingExtraError)


def test_torch_is_installed_first_and_alone(monkeypatch):
    """Whatever asks for it; another library is not."""
    monkeypatch.setitem(sys.modules, "torch", None)
    for extra in ("siglip", "vlm"):
        with pytest.raises(
            MissingExtraError, match=re.escape(f"pip install torch && pip install 'lmm-classifier[{extra}]'")
        ):
            import_optional("torch", extra)
    with pytest.raises(MissingExtraError, match=r"is not installed: pip install 'lmm-classifier\[onnx\]'$"):
        import_optional("no_such_library", "onnx")


def test_import_attribute_returns_the_attribute():
    """An attribute of an installed library is returned unchanged."""
    assert import_attribute("json", "dumps", "onnx") is __import__("json").dumps


@pytest.mark.parametrize("library", ["torch", "transformers", "onnxruntime"])
def test_an_encoder_without_its_library_names_the_extra(monkeypatch, library):
    """With the library hidden, opening the encoder says which extra to install."""
    from lmm_classifier.embeddings.config import EncoderConfig
    from lmm_classifier.embeddings.registry import open_encoder

    monkeypatch.setitem(sys.modules, library, None)
    backend = "onnx" if library == "onnxruntime" else "siglip"
    with pytest.raises(MissingExtraError, match=rf"lmm-classifier\[{backend}\]"):
        open_encoder(EncoderConfig(backend=backend, model="nowhere"))


def test_every_hinted_extra_exists():
    """Each extra that the source names is in the project's metadata."""
    hinted = set()
    for path in (ROOT / "lmm_classifier").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        hinted |= set(re.findall(r"(?:import|require)_(?:optional|attribute)\([^()]*?\"([a-z0-9-]+)\"\)", text))
        hinted |= set(re.findall(r"_EXTRA = \"([a-z0-9-]+)\"", text))
    assert hinted >= {"siglip", "onnx", "vlm"}
    assert hinted <= set(EXTRAS)


def required(extra, machine):
    """Return the names of the libraries that an extra requires on a machine, with those of the extras that it names."""
    names = set()
    for text in EXTRAS[extra]:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(machine):
            names |= {requirement.name}.union(*(required(name, machine) for name in requirement.extras & EXTRAS.keys()))
    return names


@pytest.mark.parametrize("extra", ["siglip", "openvino", "onnx", "export", "all"])
@pytest.mark.parametrize(
    ("system", "processor", "has_wheel"),
    [
        ("linux", "x86_64", True),
        ("linux", "aarch64", False),
        ("linux", "riscv64", False),
        ("darwin", "arm64", True),
        ("darwin", "x86_64", True),
        ("win32", "AMD64", True),
        ("win32", "ARM64", False),
    ],
)
def test_what_only_makes_it_faster_is_required_only_where_it_has_wheels(extra, system, processor, has_wheel):
    """Elsewhere pip would need a compiler, or fail, for a library that Pillow replaces."""
    found = required(extra, {"sys_platform": system, "platform_machine": processor})
    assert ("cykooz-resizer" in found) == has_wheel
    assert len(found) > 1
