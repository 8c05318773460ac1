"""Chunks of images to classify have names that say what they are made of."""

from lmm_classifier.core.datatypes import Classification, Decision
from lmm_classifier.distributed.answering.answer_chunks import AnswerFolder, answer_chunks


def written(folder, count=200):
    paths = [folder / f"{number:03}.png" for number in range(count)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def names(*args):
    return [chunk.name for chunk in answer_chunks(*args)]


def test_each_image_is_in_one_chunk_in_order(tmp_path):
    """At most as many as a chunk may have; missing ones too."""
    paths = [*written(tmp_path), tmp_path / "missing.png"]
    chunks = list(answer_chunks(paths, 16, "x"))
    assert [place for chunk in chunks for place in chunk.places] == paths
    assert max(len(chunk.places) for chunk in chunks) <= 16
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))


def test_names_say_what_the_answers_depend_on(tmp_path):
    """The images and what answers; most names stay where a run begins later among the same images."""
    paths = written(tmp_path)
    before = names(paths, 16, "x")
    assert names(paths, 16, "x") == before
    assert not set(names(paths, 16, "y")) & set(before)
    assert len(set(names(paths[5:], 16, "x")) & set(before)) > len(before) / 2
    paths[-1].write_bytes(b"of another size")
    assert len(set(names(paths, 16, "x")) & set(before)) == len(before) - 1
    assert not set(names(paths, 16, None)) & set(names(paths, 16, None))


def test_results_are_there_until_the_end(tmp_path):
    """Those of other chunks stay."""
    folder = AnswerFolder(str(tmp_path), "run")
    results = [Classification("a", 0.5, False, Decision("accept", "confident"), ())]
    folder.put_answers("ab", results)
    folder.put_answers("cd", results)
    assert (folder.has_answers("ab"), folder.has_answers("ef"), folder.answers("ab")) == (True, False, results)
    folder.end(["ab"])
    assert (folder.has_answers("ab"), folder.has_answers("cd")) == (False, True)
