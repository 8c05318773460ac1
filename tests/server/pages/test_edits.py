"""The journal is a page, on which any edit can be undone."""

import re
from concurrent.futures import ThreadPoolExecutor

from tests.helpers.forms import PAGE, followed, send

NOTHING = "There is nothing more to undo."


def test_an_edit_is_told_and_undone(teacher):
    """Undoing is an edit too; one of examples that changed since is refused with the reason."""
    send(teacher, "/dataset/labels/red", action="rename", label="crimson")
    send(teacher, "/dataset/labels/crimson", action="rename", label="scarlet")
    page = teacher.get("/edits").text
    assert page.index("from crimson to scarlet") < page.index("from red to crimson")
    refused = send(teacher, "/edits/2/undo", then="/edits")
    assert refused.status_code == 409
    assert "not undone" in refused.text
    assert "Undone: 6 examples relabeled from scarlet to crimson" in followed(
        teacher, send(teacher, "/edits/3/undo", then="/edits")
    )
    assert "undone by 4" in teacher.get("/edits").text


def test_other_numbers_are_no_edits(teacher):
    """And `then` leads nowhere else."""
    for edit in ("0", "99", "x", "9" * 30, "-1"):
        assert teacher.post(f"/edits/{edit}/undo", data={"then": "/"}, headers=PAGE).status_code == 404
    send(teacher, "/dataset/labels/red", action="rename", label="crimson")
    reply = send(teacher, "/edits/2/undo", then="//evil.example/")
    assert reply.headers["location"].startswith("/edits?edit=")
    assert teacher.get("/edits?before=x&edit=77").status_code == 200


def test_undoing_goes_back_step_by_step(teacher):
    """Each time the newest edit that is left, whoever made it; then it says that nothing is left."""
    teacher.post("/v1/labels/rename", json={"label": "red", "new": "crimson"})
    send(teacher, "/dataset/labels/green", action="rename", label="lime")
    send(teacher, "/dataset/labels/lime", action="rename", label="olive")
    page = followed(teacher, send(teacher, "/edits/undo", then="/dataset"))
    assert "Undone: 6 examples relabeled from olive to lime" in page
    assert NOTHING not in page
    for text in ("from lime to green", "from crimson to red"):
        (action,) = re.findall(r'action="(/edits/\d+/undo)" data-undo.*data-key="z"', page)
        page = followed(teacher, send(teacher, action, then="/dataset"))
        assert f"Undone: 6 examples relabeled {text}" in page
    assert NOTHING in page
    assert NOTHING in followed(teacher, send(teacher, "/edits/undo", then="/dataset?q=r"))
    assert teacher.get("/v1/index").json()["version"] == 7
    (action,) = re.findall(r'action="(/edits/\d+/undo)" data-undo.*>Redo<', page)
    page = followed(teacher, send(teacher, action, then="/dataset"))
    assert "Redone: 6 examples relabeled from red to crimson" in page
    assert ">Redo<" not in page
    assert "from crimson to red" in followed(teacher, send(teacher, "/edits/undo", then="/dataset"))


def test_a_redo_is_called_so(teacher):
    """In the list as in the notice; undone once more, it is an undo again."""
    send(teacher, "/dataset/labels/red", action="rename", label="crimson")
    for edit, did in ((2, "Undone"), (3, "Redone"), (4, "Undone")):
        said = "from red to crimson" if did == "Redone" else "from crimson to red"
        page = followed(teacher, send(teacher, f"/edits/{edit}/undo", then="/edits"))
        assert page.count(f"{did}: 6 examples relabeled {said}") >= 2
        undo = 2 if did == "Redone" else edit + 1  # a redo is undone at the edit that it does again
        assert re.findall(r'action="/edits/(\d+)/undo"><', page)[0] == str(undo)
    kinds = [edit["kind"] for edit in teacher.get("/v1/edits").json()["edits"]]
    assert kinds == ["undo", "redo", "undo", "rename_label", "build"]
    assert ">Redo<" in page
    assert "The index was built" in page


def test_two_undo_at_once(teacher):
    """Each undoes another edit, as two presses of a key do."""
    teacher.post("/v1/labels/rename", json={"label": "red", "new": "crimson"})
    send(teacher, "/dataset/labels/green", action="rename", label="lime")
    with ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(lambda _: send(teacher, "/edits/undo", then="/dataset"), range(2)))
    assert [reply.status_code for reply in replies] == [303, 303]
    labels = {entry["label"] for entry in teacher.get("/v1/labels").json()["labels"]}
    assert {"red", "green"} <= labels
    assert not {"crimson", "lime"} & labels


def test_the_page_belongs_to_the_dataset(client):
    """Its tab is lit, and the pages of the dataset lead to it."""
    assert re.search(r'href="/dataset" aria-current="page">Dataset<', client.get("/edits").text)
    for address in ("/dataset", "/dataset/labels/red", "/dataset/audit/outliers"):
        assert 'href="/edits"' in client.get(address).text
