"""Programs read findings and dismiss them."""

import pytest


def test_findings_are_paged_by_kind(auditor):
    """With the examples and the neighbors by their ids."""
    found = auditor.get("/v1/audit").json()
    assert (found["state"], found["missing"]) == ("done", [])
    assert found["audited_version"] == found["index_version"] == 1
    first = found["findings"][0]
    assert (first["examples"][0]["path"], first["suggested"], first["is_likely"]) == ("green/wrong.png", "red", True)
    assert all(near["id"] for near in first["neighbors"])
    (group,) = auditor.get("/v1/audit?kind=duplicates").json()["findings"]
    assert len({example["id"] for example in group["examples"]}) == 1
    assert auditor.get("/v1/audit?cursor=100000").json()["findings"] == []


def test_a_dismissal_stays(auditor):
    """Also in the next audit, until it is undone."""
    finding = auditor.get("/v1/audit").json()["findings"][0]
    examples = [{"id": example["id"], "label": example["label"]} for example in finding["examples"]]
    body = {"findings": [{"kind": "label", "examples": examples}]}
    report = auditor.post("/v1/audit/dismissals", json=body)
    assert report.status_code == 200
    listed = auditor.get("/v1/audit").json()
    assert finding["finding"] not in [other["finding"] for other in listed["findings"]]
    assert auditor.post("/v1/audit").status_code == 202
    auditor.state.auditing.close()
    assert auditor.get("/v1/edits").json()["edits"][0]["kind"] == "dismiss"
    auditor.post(f"/v1/edits/{report.json()['edit']}/undo", json={})
    assert finding["finding"] in [other["finding"] for other in auditor.get("/v1/audit").json()["findings"]]


@pytest.mark.parametrize(
    "examples", [[], [{"id": "x", "label": "a"}], [{"id": "0" * 64, "label": "a"}, {"id": "1" * 64, "label": "a"}]]
)
def test_a_finding_that_is_none_is_refused(auditor, examples):
    """Nothing is changed."""
    reply = auditor.post("/v1/audit/dismissals", json={"findings": [{"kind": "label", "examples": examples}]})
    assert reply.status_code == 400


def test_other_kinds_and_cursors_are_refused(client):
    """With what was expected."""
    for address in ("/v1/audit?kind=x", "/v1/audit?cursor=-1", "/v1/audit?cursor=99999999999"):
        assert client.get(address).status_code == 400
