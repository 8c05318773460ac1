"""The description says what the server does: checked by requests that are made from it."""

import json
import re

import pytest

from lmm_classifier.server.problems import PROBLEMS
from tests.helpers.datasets import offline_config
from tests.helpers.paths import TESTS

SNAPSHOT = TESTS / "fixtures" / "openapi.json"


def test_the_description_is_the_stored_one(client, pytestconfig):
    """A change that clients notice is made on purpose: with `FREEZE=1` this stores the new description."""
    import os

    values = client.get("/openapi.json").json()
    values["info"].pop("version")
    text = json.dumps(values, indent=1, sort_keys=True) + "\n"
    if os.environ.get("FREEZE"):
        SNAPSHOT.write_text(text, encoding="ascii")
    assert json.loads(SNAPSHOT.read_text(encoding="ascii")) == values


def test_every_status_is_described(client):
    """Each that may come from every address, and each that a type of problem has somewhere."""
    operations = [op for path in client.get("/openapi.json").json()["paths"].values() for op in path.values()]
    for operation in operations:
        assert {"400", "401", "403", "408", "431", "500", "503"} <= set(operation["responses"])
        assert not any("HTTPValidationError" in str(response) for response in operation["responses"].values())
    described = {int(code) for operation in operations for code in operation["responses"]}
    assert {problem.status for problem in PROBLEMS.values()} - described == {405}  # of no operation


def test_no_parameter_is_ignored(client):
    """Every address refuses one that it does not describe, and names those that exist; and one that comes twice."""
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            address = re.sub("{.*?}", "1", path)
            query = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
            reply = client.request(method, address, params={"nope": 1, **{one["name"]: "1" for one in query}})
            assert (reply.status_code, reply.json()["type"]) == (400, "/problems/malformed-request"), address
            assert "'nope'" in reply.json()["detail"]
            assert all(one["name"] in reply.json()["detail"] for one in query)
            for one in query:
                reply = client.request(method, address, params={one["name"]: ["1", "2"]})
                is_refused = "more than once" in reply.json()["detail"]
                assert is_refused == (one["schema"].get("type") != "array"), (address, one["name"])


@pytest.mark.parametrize("examples", [2, pytest.param(200, marks=pytest.mark.long)])
def test_generated_requests(open_server, place, record_property, examples):
    """Requests of schemathesis to each operation alone, good and bad: no failure of any of its checks."""
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    from tests.helpers.generated_requests import ask_each_alone

    server = open_server(offline_config(place / "index", rerank__enabled=False))
    failures = ask_each_alone(server.url, examples)
    record_property("failures", failures.count)
    record_property("requests", failures.requests.total())
    assert failures.count == 0, str(failures)
