"""What another program finds in an export, read by the documented rules of its format and not by our own code."""

import json
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from lmm_classifier.core.datatypes import Candidate, Classification, Decision, Example, Neighbor

ODD_LABELS = ("a,b \"q\" 's'", "=1+1", "猫/naïve", "<&>;x")


@dataclass(frozen=True)
class Found:
    """One exported image: its id, its label (None where there is none), and the rest of what is there."""

    path: str
    label: str | None
    rest: dict


def tasks_of(output):
    """Read tasks of Label Studio, with the labels that its interface offers."""
    tasks = json.loads(output.read_text("ascii"))
    interface = ElementTree.fromstring(output.with_suffix(".xml").read_text("utf-8"))
    offered = [choice.attrib["value"] for choice in interface.iter("Choice")]
    found = []
    for task in tasks:
        chosen = [entry["value"]["choices"] for made in task["predictions"] for entry in made["result"]]
        assert all(len(choices) == 1 and choices[0] in offered for choices in chosen)
        data = task["data"]
        found.append(Found(data.get("example", data.get("path")), chosen[0][0] if chosen else None, data))
    return found


def images_of(output):
    """Read a FiftyOneImageClassificationDataset as its importer does: names of images lose what follows a dot."""
    values = json.loads((output / "labels.json").read_text("ascii"))
    files = json.loads((output / "data.json").read_text("ascii"))
    files = {name.rpartition(".")[0] or name: output / file for name, file in files.items()}
    assert list(files) == list(values["labels"])
    found = []
    for name, target in values["labels"].items():
        rest = {**target["attributes"], "file": files[name], "confidence": target.get("confidence")}
        path = rest.get("example", rest.get("path"))
        found.append(Found(path, values["classes"][target["label"]], rest))
    return found


def rows_of(output):
    """Read a table in Parquet with pandas."""
    import pandas as pd

    rows = pd.read_parquet(output).to_dict("records")
    return [Found(row["path"], row["label"], row) for row in rows]


def arrays_of(output):
    """Read the arrays for cleanlab."""
    labels, probabilities = np.load(output / "labels.npy"), np.load(output / "pred_probs.npy")
    names = (output / "label_names.txt").read_text("utf-8").split("\n")[:-1]
    ids = (output / "ids.txt").read_text("utf-8").split("\n")[:-1]
    assert probabilities.shape == (len(labels), len(names))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    return [Found(path, names[label], {"p": p}) for path, label, p in zip(ids, labels, probabilities, strict=True)]


def result(path, label, reason="confident", **values):
    """Return a result with one candidate."""
    readable, known = reason != "unreadable", reason not in ("novel", "unreadable")
    neighbor = Neighbor(Example(f"{label}/0.png", label), 0.9)
    return Classification(
        label if known else "unknown",
        0.8 if readable else 0.0,
        False,
        Decision("accept" if known else "reject", reason),
        (Candidate(label, 0.8, (neighbor,)),) if readable else (),
        similarity=0.9 if readable else None,
        familiarity=0.1 if readable else None,
        path=str(path),
        error=None if readable else f"{path}: it is broken",
        **values,
    )


def leftovers(folder: Path):
    """Return temporary files that an export left."""
    return [path.name for path in folder.rglob(".lmm-classifier-*") if path.name != ".lmm-classifier-output"]
