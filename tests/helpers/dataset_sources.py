"""The same labeled images as every kind of source: each maker writes them and returns the specification."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from lmm_classifier.data.readers.dataset_spec import DatasetSpec

Images = Mapping[str, bytes]  # "label/name.png" -> PNG


def label_of(name: str) -> str:
    """Return the label in a name."""
    return name.partition("/")[0]


def write_files(folder: Path, images: Images) -> Path:
    """Write the files, and remove others of an earlier call."""
    for old in [path for path in folder.rglob("*.png") if path.relative_to(folder).as_posix() not in images]:
        old.unlink()
    for name, data in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def folder(root: Path, images: Images) -> DatasetSpec:
    """Write `label/name.png`."""
    return DatasetSpec(str(write_files(root / "images", images)))


def levels(root: Path, images: Images) -> DatasetSpec:
    """Write `train/object/label/name.png`."""
    write_files(root / "images", {f"train/object {len(name)}/{name}": data for name, data in images.items()})
    return DatasetSpec(str(root / "images"), label_from="parent", group_from="2", split_from="1", split="train")


def zipped(root: Path, images: Images) -> DatasetSpec:
    """Write a deflated zip."""
    return DatasetSpec(str(write_zip(root / "images.zip", images)))


def write_zip(path: Path, images: Images, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip with these members."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in images.items():
            archive.writestr(name, data)
    return path


def stored_zip(root: Path, images: Images) -> DatasetSpec:
    """Write a zip whose members are not compressed."""
    return DatasetSpec(str(write_zip(root / "images.zip", images, zipfile.ZIP_STORED)))


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """Write a tar with these members."""
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def tar(root: Path, images: Images) -> DatasetSpec:
    """Write a tar of folders."""
    return DatasetSpec(str(write_tar(root / "images.tar", images)))


def samples(images: Images) -> dict[str, bytes]:
    """Return members of webdataset samples."""
    members = {}
    for number, (name, data) in enumerate(images.items()):
        members[f"{number:06}.png"] = data
        members[f"{number:06}.cls"] = label_of(name).encode()
    return members


def webdataset(root: Path, images: Images) -> DatasetSpec:
    """Write one shard."""
    return DatasetSpec(str(write_tar(root / "images.tar", samples(images))))


def shards(root: Path, images: Images) -> DatasetSpec:
    """Write two shards, with labels in the fields of the second."""
    names = list(images)
    write_tar(root / "images-00.tar", samples({name: images[name] for name in names[::2]}))
    fields = {f"{n}.json": json.dumps({"cls": label_of(name)}).encode() for n, name in enumerate(names[1::2])}
    members = {f"{n}.png": images[name] for n, name in enumerate(names[1::2])}
    write_tar(root / "images-01.tar", {**fields, **members})
    return DatasetSpec(str(root / "images-{00..01}.tar"))


def table_rows(images: Images) -> list[dict[str, str]]:
    """Return rows with odd names of columns."""
    return [
        {"photo": f"files/{name}", "kind": label_of(name), "object": f"o{number // 2}", "split": "train"}
        for number, name in enumerate(images)
    ]


_COLUMNS = {"image_from": "photo", "label_from": "kind", "group_from": "object"}


def csv_manifest(root: Path, images: Images) -> DatasetSpec:
    """Write files and a CSV file."""
    write_files(root / "files", images)
    with (root / "images.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["photo", "kind", "object", "split"])
        writer.writeheader()
        writer.writerows(table_rows(images))
    return DatasetSpec(str(root / "images.csv"), split="train", **_COLUMNS)


def jsonl_manifest(root: Path, images: Images) -> DatasetSpec:
    """Write files and JSON lines."""
    write_files(root / "files", images)
    (root / "images.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table_rows(images)))
    return DatasetSpec(str(root / "images.jsonl"), **_COLUMNS)


def parquet_manifest(root: Path, images: Images) -> DatasetSpec:
    """Write files and a Parquet file with their paths."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_files(root / "files", images)
    pq.write_table(pa.Table.from_pylist(table_rows(images)), root / "images.parquet")
    return DatasetSpec(str(root / "images.parquet"), **_COLUMNS)


def parquet_images(root: Path, images: Images) -> DatasetSpec:
    """Write a Parquet file with the bytes, as `datasets` writes it, in row groups of two rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = sorted({label_of(name) for name in images})
    features = {"label": {"names": labels, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    rows = [
        {"image": {"bytes": data, "path": name}, "label": labels.index(label_of(name))} for name, data in images.items()
    ]
    table = pa.Table.from_pylist(rows)
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (root / "parquet").mkdir(exist_ok=True)
    pq.write_table(table, root / "parquet/images.parquet", row_group_size=2)
    return DatasetSpec(str(root / "parquet/images.parquet"))


def plain_parquet(root: Path, images: Images) -> DatasetSpec:
    """Write a Parquet file with a binary column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"data": list(images.values()), "label": [label_of(name) for name in images]})
    pq.write_table(table, root / "images.parquet")
    return DatasetSpec(str(root / "images.parquet"), image_from="data")


def hugging_face(root: Path, images: Images) -> DatasetSpec:
    """Write a folder as the library `datasets` reads it."""
    return DatasetSpec(f"hf:{write_files(root / 'images', images)}")


def hugging_face_parquet(root: Path, images: Images) -> DatasetSpec:
    """Write a folder of Parquet files as the hub has them."""
    return DatasetSpec(f"hf:{Path(parquet_images(root, images).source).parent}")


def on_canvas(images: Images) -> bytes:
    """Return one image with all images next to each other."""
    opened = [Image.open(io.BytesIO(data)).convert("RGB") for data in images.values()]
    canvas = Image.new("RGB", (sum(image.width for image in opened), max(image.height for image in opened)))
    left = 0
    for image in opened:
        canvas.paste(image, (left, 0))
        left += image.width
    stream = io.BytesIO()
    canvas.save(stream, "PNG")
    return stream.getvalue()


def coco(root: Path, images: Images) -> DatasetSpec:
    """Write one image of all labels' images each, with boxes around them."""
    halves = [dict(list(images.items())[part::2]) for part in (0, 1)]
    labels = sorted({label_of(name) for name in images})
    annotations, sizes = [], []
    for number, half in enumerate(halves):
        (root / "scenes").mkdir(exist_ok=True)
        canvas = on_canvas(half)
        (root / f"scenes/{number}.png").write_bytes(canvas)
        sizes.append(Image.open(io.BytesIO(canvas)).size)
        left = 0
        for name, data in half.items():
            width, height = Image.open(io.BytesIO(data)).size
            box, kind = [left, 0, width, height], 10 + labels.index(label_of(name))
            annotations.append({"id": len(annotations), "image_id": number, "category_id": kind, "bbox": box})
            left += width
    values = {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": width, "height": height}
            for number, (width, height) in enumerate(sizes)
        ],
        "categories": [{"id": 10 + number, "name": name} for number, name in enumerate(labels)],
        "annotations": annotations,
    }
    (root / "scenes.json").write_text(json.dumps(values))
    return DatasetSpec(f"coco:{root / 'scenes.json'}@{root / 'scenes'}")


def voc(root: Path, images: Images) -> DatasetSpec:
    """Write one image of all images, with a box around each."""
    (root / "boxes").mkdir(exist_ok=True)
    (root / "scenes").mkdir(exist_ok=True)
    (root / "scenes/all.png").write_bytes(on_canvas(images))
    objects, left = "", 0
    for name, data in images.items():
        width, height = Image.open(io.BytesIO(data)).size
        box = f"<xmin>{left + 1}</xmin><ymin>1</ymin><xmax>{left + width}</xmax><ymax>{height}</ymax>"
        objects += f"<object><name>{label_of(name)}</name><bndbox>{box}</bndbox></object>"
        left += width
    text = f"<annotation><folder>x</folder><filename>all.png</filename>{objects}</annotation>"
    (root / "boxes/all.xml").write_text(text)
    return DatasetSpec(f"voc:{root / 'boxes'}@{root / 'scenes'}")
