"""An index of several encoders is built, extended, synced and edited; no image is encoded twice by one encoder."""

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.errors import Cancelled, DatasetError, IndexMismatchError
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.view import CenterView
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor, sync_index
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.vector_index import Index
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.encoders import ColorEncoder, LayoutEncoder, NoiseEncoder

COUNT = 12  # images of the dataset


@pytest.fixture
def dataset(tmp_path):
    return draw_dataset(tmp_path / "dataset", ("gingham", "polka_dots", "stripes", "tartan"), count=3, size=24)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index"


def build(dataset, path, *encoders, **more):
    return build_index_from_directory(
        dataset, path, more.pop("batch_size", 4), offline_config(path), encoder=encoders, **more
    )


def sync(path, *encoders, **more):
    return sync_index(path, config=offline_config(path), batch_size=4, encoder=encoders, **more)


def counts(*encoders):
    return [encoder.encoded for encoder in encoders]


def assert_sound(path, *encoders):
    """The index has exactly the vectors that these encoders give its images."""
    indexes = Index.open_each(path)
    assert [index.fingerprint for index in indexes] == [encoder.fingerprint for encoder in encoders]
    files = [indexes[0].contents.file_of(example.path) for example in indexes[0].examples]
    images = [Image.open(file).convert("RGB") for file in files]
    for index, encoder in zip(indexes, encoders, strict=True):
        np.testing.assert_array_equal(index.vectors(), encode_images(encoder, images))
    if path.is_dir():
        assert check_index(path) == []
        with Store(path) as store:
            spaces = store.manifest().space_ids
            known = [store.encoded_hashes(space) for space in spaces]
            examples = set(indexes[0].hashes)
            kept = {content_hash.decode() for (content_hash,) in store._connection.execute("SELECT hash FROM journal")}
            assert all(examples <= hashes <= examples | kept for hashes in known)
            stored = {row[0] for row in store._connection.execute("SELECT DISTINCT encoder FROM vectors")}
            assert stored == set(spaces)


@pytest.mark.parametrize("name", ["index", "index.npz"])
def test_every_image_has_a_vector_of_each_encoder(dataset, tmp_path, name):
    """In both formats; the report names the encoders, and the time that each takes is known."""
    color, center, layout = ColorEncoder(), CenterView(ColorEncoder(), "center 0.5"), LayoutEncoder()
    report = build(dataset, tmp_path / name, color, center, layout)
    assert report.encoders == tuple(str(encoder.fingerprint) for encoder in (color, center, layout))
    assert report.total == COUNT
    assert_sound(tmp_path / name, color, center, layout)
    milliseconds = read_index(tmp_path / name).milliseconds
    assert set(milliseconds) == {encoder.fingerprint.space_id for encoder in (color, center, layout)}
    assert all(time > 0 for time in milliseconds.values())


def test_an_encoder_more_encodes_all_images_and_the_others_none(dataset, path):
    """By a build or by a sync, at any place; new images are encoded by all."""
    build(dataset, path, ColorEncoder())
    color, layout = ColorEncoder(), LayoutEncoder()
    report = build(dataset, path, layout, color)
    assert counts(layout, color) == [COUNT, 0]
    assert report.changes.encoded == COUNT
    assert report.encoded_by == (layout.fingerprint.name,)
    assert_sound(path, layout, color)
    draw("tartan", np.random.default_rng(9), 24).save(dataset / "tartan" / "new.png")
    color, layout, noise = ColorEncoder(), LayoutEncoder(), NoiseEncoder()
    report = sync(path, layout, noise, color)
    assert counts(layout, noise, color) == [1, COUNT + 1, 1]
    assert report.changes.added == ("tartan/new.png",)
    assert report.encoded_by == tuple(encoder.fingerprint.name for encoder in (layout, noise, color))
    assert report.encoders == tuple(str(encoder.fingerprint) for encoder in (layout, noise, color))
    assert_sound(path, layout, noise, color)
    assert counts(layout, noise, color) == [COUNT + 2, 2 * COUNT + 2, COUNT + 2]  # `assert_sound` encoded them too
    assert not sync(path, layout, noise, color).changes.any


def test_only_a_build_drops_the_vectors_of_an_encoder(dataset, path):
    """A sync names it, and says what to do; nothing is encoded again."""
    build(dataset, path, ColorEncoder(), LayoutEncoder())
    color = ColorEncoder()
    with pytest.raises(IndexMismatchError, match="has vectors of thumbnail, which is not configured. Configure it too"):
        sync(path, color)
    assert_sound(path, ColorEncoder(), LayoutEncoder())
    report = build(dataset, path, color)
    assert (color.encoded, report.changes.encoded, report.encoded_by) == (0, 0, ())
    assert_sound(path, ColorEncoder())
    back = LayoutEncoder()
    build(dataset, path, color, back)
    assert back.encoded == COUNT  # its vectors were dropped, not hidden


@pytest.mark.long
def test_one_encoder_in_the_place_of_another(dataset, path):
    """A sync refuses it when an image must be encoded, a build replaces the vectors."""
    build(dataset, path, ColorEncoder(), LayoutEncoder())
    draw("tartan", np.random.default_rng(9), 24).save(dataset / "tartan" / "new.png")
    color, noise = ColorEncoder(), NoiseEncoder()
    with pytest.raises(IndexMismatchError, match="noise"):
        sync(path, color, noise)
    build(dataset, path, color, noise)
    assert counts(color, noise) == [1, COUNT + 1]
    assert_sound(path, ColorEncoder(), NoiseEncoder())


def test_another_order_of_the_encoders(dataset, path):
    """A sync leaves the order of the index; a build takes the new one, and encodes nothing."""
    build(dataset, path, ColorEncoder(), LayoutEncoder())
    color, layout = ColorEncoder(), LayoutEncoder()
    assert not sync(path, layout, color).changes.any
    assert_sound(path, ColorEncoder(), LayoutEncoder())
    build(dataset, path, layout, color)
    assert counts(layout, color) == [0, 0]
    assert_sound(path, LayoutEncoder(), ColorEncoder())


@pytest.mark.parametrize("stopped", [0, 1])
def test_an_interrupted_build_resumes_for_each_encoder(dataset, path, stopped):
    """What was committed is not encoded again, by whichever encoder it was stopped."""

    class Stops(ColorEncoder if stopped == 0 else LayoutEncoder):
        def encode(self, preprocessed):
            if self.encoded >= 8:
                raise KeyboardInterrupt
            return super().encode(preprocessed)

    first = [ColorEncoder(), LayoutEncoder()]
    first[stopped] = Stops()
    with pytest.raises(KeyboardInterrupt):
        build(dataset, path, *first)
    again = [ColorEncoder(), LayoutEncoder()]
    assert build(dataset, path, *again).total == COUNT
    assert counts(*again) == [4, 4]
    assert_sound(path, *again)


def test_an_interrupted_addition_of_an_encoder_changes_nothing(dataset, path):
    """The index stays as it was; the next try encodes the rest, and dropping the request drops what was stored."""
    build(dataset, path, ColorEncoder())

    def cancel(progress):
        if progress.done >= 8:
            raise Cancelled

    for _ in range(2):
        layout = LayoutEncoder()
        with pytest.raises(Cancelled):
            build(dataset, path, ColorEncoder(), layout, progress=cancel)
        (index,) = Index.open_each(path)
        assert index.fingerprint == ColorEncoder.fingerprint
    layout = LayoutEncoder()
    build(dataset, path, ColorEncoder(), layout)
    assert layout.encoded < COUNT
    assert_sound(path, ColorEncoder(), LayoutEncoder())


def test_an_image_that_one_encoder_refuses_is_no_example(dataset, path):
    """It is skipped with the reason; where it was an example, adding the encoder removes it."""
    draw("tartan", np.random.default_rng(9), 31).save(dataset / "tartan" / "odd.png")
    assert build(dataset, path, ColorEncoder()).total == COUNT + 1
    report = build(dataset, path, ColorEncoder(), LayoutEncoder(refused=[(31, 31)]))
    assert report.total == COUNT
    assert [(file.path, file.kind) for file in report.failed] == [("tartan/odd.png", "no_vector")]
    assert "thumbnail refuses this image" in report.failed[0].reason
    assert_sound(path, ColorEncoder(), LayoutEncoder())
    with pytest.raises(DatasetError, match="thumbnail refuses"):
        build(dataset, path.with_name("other"), LayoutEncoder(refused=[(24, 24), (31, 31)]), batch_size=1)


def test_edits_by_hand_keep_a_vector_of_each_encoder(dataset, path, tmp_path):
    """Added images are encoded by all, in any order of configuration; relabeled ones by none, and a sync keeps both."""
    build(dataset, path, ColorEncoder(), LayoutEncoder())
    color, layout = ColorEncoder(), LayoutEncoder()
    editor = IndexEditor(path, offline_config(path), [layout, color])
    new = [draw("argyle", np.random.default_rng(seed), 24) for seed in range(3)]
    report = editor.add(new, "argyle")
    assert len(report.changes.added) == report.changes.encoded == 3
    assert counts(color, layout) == [3, 3]
    editor.relabel([report.changes.added[0]], "stripes")
    editor.remove([report.changes.added[1]])
    assert counts(color, layout) == [3, 3]
    assert sync(path, color, layout).changes.unchanged == COUNT + 2
    assert counts(color, layout) == [3, 3]
    assert_sound(path, ColorEncoder(), LayoutEncoder())
    noise = NoiseEncoder()
    build(dataset, path, color, layout, noise)  # images that were added by hand are encoded by the new one too
    assert noise.encoded == COUNT + 2
    assert_sound(path, ColorEncoder(), LayoutEncoder(), NoiseEncoder())


def test_an_edit_without_an_encoder_of_the_index_is_refused(dataset, path):
    """A new image would lack a vector, so nothing is added; edits that need no vector work."""
    build(dataset, path, ColorEncoder(), LayoutEncoder())
    editor = IndexEditor(path, offline_config(path), ColorEncoder())
    with pytest.raises(IndexMismatchError, match="has vectors of thumbnail, which is not configured"):
        editor.add([draw("argyle", np.random.default_rng(0), 24)], "argyle")
    with pytest.raises(IndexMismatchError, match="but encoder.backend is 'descriptor'"):
        IndexEditor(path, offline_config(path)).add([draw("argyle", np.random.default_rng(0), 24)], "argyle")
    editor.relabel(["stripes/00.png"], "gingham")
    editor.remove(["stripes/01.png"])
    assert len(Index.open(path)) == COUNT - 1


@pytest.mark.parametrize("damaged", [ColorEncoder, LayoutEncoder])
def test_a_repair_costs_only_the_vectors_that_were_damaged(dataset, path, damaged):
    """Their images are no examples until a sync encodes them again, by this encoder alone."""
    build(dataset, path, ColorEncoder(), LayoutEncoder())
    with Store(path) as store:
        keys = f"SELECT key FROM vectors WHERE encoder = '{damaged.fingerprint.space_id}' ORDER BY key LIMIT 2"
        store._connection.execute(f"UPDATE vectors SET vector = zeroblob(9) WHERE key IN ({keys})")
    assert next(finding.severity for finding in check_index(path)) == "damage"
    assert any(finding.repaired for finding in check_index(path, repair=True))
    assert len(Index.open(path)) == COUNT - 2
    encoders = [ColorEncoder(), LayoutEncoder()]
    sync(path, *encoders)
    assert counts(*encoders) == [2 if isinstance(encoder, damaged) else 0 for encoder in encoders]
    assert_sound(path, *encoders)


def test_encoders_are_loaded_when_an_image_needs_one(dataset, path):
    """A sync without a new image loads none, if as many are configured as the index has."""
    config = offline_config(path)
    config.encoder = [{"backend": "descriptor"}, {"backend": "descriptor", "view": "center 0.5"}]
    build_index_from_directory(dataset, path, config=config)
    config.encoder = [{"backend": "onnx", "model": "nowhere"}, {"backend": "onnx", "model": "nothing"}]
    assert not sync_index(path, config=config).changes.any
    draw("tartan", np.random.default_rng(9), 24).save(dataset / "tartan" / "new.png")
    with pytest.raises(IndexMismatchError, match="encoder.backend is 'onnx'"):
        sync_index(path, config=config)
