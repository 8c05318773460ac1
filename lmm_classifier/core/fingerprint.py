"""The fingerprint of an encoder: vectors of different ones must never be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

DECODING = "colors to sRGB"  # changes with the rules of `data.images`, if an image gives other pixels than before


_OTHER_NAMES = {"siglip": "transformers"}  # names of backends that give the vectors of another


def backend_name(backend: str) -> str:
    """Return the name of an encoder backend in fingerprints, which is one for all names of a backend."""
    return _OTHER_NAMES.get(backend, backend)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The encoder that made a vector. Vectors of different fingerprints must never be compared."""

    backend: str
    """Name of the backend, such as `transformers`; another name for the same backend becomes this one."""
    model: str
    """Hub name, or the name of the file or folder."""
    revision: str
    """Digest of the weights, where there are any."""
    preprocessing: str
    """How an image becomes the input of the model."""
    dim: int
    """Numbers in a vector."""
    dtype: str
    """Number type of the computation. It moves a similarity by about 1e-3, so a difference is warned about only."""
    decoding: str = DECODING
    """Rules by which files became pixels; empty for those of before color profiles were applied."""
    view: str = ""
    """The part of the image that the encoder sees, such as `center 0.5`; empty for the whole."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "backend", backend_name(self.backend))

    def __str__(self) -> str:
        details = f"{self.dim}-d, {self.dtype}, {self.preprocessing}, {self.decoding or 'colors as stored'}"
        details += f", {self.view}" if self.view else ""
        return f"{self.backend}:{self.model}@{self.revision or '-'} ({details})"

    @property
    def name(self) -> str:
        """A short name to show: the last part of the model's name, or the backend where that says nothing; the view."""
        name = self.model.replace("\\", "/").rstrip("/").rpartition("/")[2].removesuffix(".onnx")
        return f"{self.backend if name in ('', 'model') else name} {self.view}".strip()

    @property
    def space_id(self) -> str:
        """A short digest, equal for fingerprints whose vectors may be compared."""
        fields = [self.backend, self.revision or self.model, self.preprocessing, str(self.dim)]
        fields += [self.decoding] if self.decoding else []
        fields += [self.view] if self.view else []
        return sha256("\0".join(fields).encode(errors="surrogatepass")).hexdigest()[:16]

    def differences(self, other: Fingerprint) -> list[str]:
        """Return the names of the fields that make the vectors incomparable; empty when they may be compared.

        The model's name does not count where both have the same digest of weights: a hub name and a folder can be one
        model.
        """
        fields = ["backend", "model", "revision", "preprocessing", "dim", "decoding", "view"]
        if self.revision and self.revision == other.revision:
            fields.remove("model")
        return [name for name in fields if getattr(self, name) != getattr(other, name)]


def encoder_names(fingerprints: Sequence[Fingerprint]) -> list[str]:
    """Return a short name for each encoder; where two would be the same, the backend or a number is added."""
    names = [fingerprint.name for fingerprint in fingerprints]
    if len(set(names)) < len(names):
        names = [f"{fingerprint.backend} {name}" for fingerprint, name in zip(fingerprints, names)]
    return [name if names.count(name) == 1 else f"{name} #{place + 1}" for place, name in enumerate(names)]
