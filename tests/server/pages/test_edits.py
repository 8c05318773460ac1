"""The journal is a page, on which any edit can be undone."""

from tests.helpers.forms import PAGE, followed, send


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
