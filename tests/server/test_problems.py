"""Whatever happens, the answer is a problem that tells nothing of the disk."""

import json

import pytest

pytest.importorskip("starlette", reason="the extra `server` is not installed")

from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core import errors
from lmm_classifier.server.problems import PROBLEMS, ProblemError, problem_of, problem_values, whole_seconds

SECRET = "/srv/secret/index"


def kinds(root=errors.LmmClassifierError):
    return {root, *(kind for child in root.__subclasses__() for kind in kinds(child))}


def made(kind):
    if kind is errors.ConflictError:
        return kind.of({"a/b.png": ("a", None)})
    return kind(f"{SECRET} cannot be used")


@pytest.mark.parametrize("kind", sorted(kinds(), key=lambda kind: kind.__name__))
def test_each_error_of_the_library_is_a_problem(kind):
    """Those of an image are 422; those that may name a path of the server do not tell it."""
    problem = problem_of(made(kind))
    status = PROBLEMS[problem.slug].status
    if issubclass(kind, errors.ImageError):
        assert (status, problem.members["kind"]) == (422, kind.kind)
    if status >= 500 and kind is not errors.DeadlineError:
        assert SECRET not in problem.detail
    json.dumps(problem_values(problem, "/x"))


def test_other_errors_are_500(caplog):
    """The log has the details."""
    problem = problem_of(ValueError(SECRET))
    assert (problem.slug, SECRET in problem.detail) == ("internal-error", False)
    assert SECRET in caplog.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Run `lmm-classifier calibrate` again.",
            "Calibrate (by `recalibrate` in POST /v1/calibration, or on the page",
        ),
        ("calibration: run `lmm-classifier calibrate` to", "calibrate (by"),
        ("or run `lmm-classifier build` with it", "run `lmm-classifier build` on the machine of the server with it"),
        ("Nothing was changed.", "Nothing was changed."),
    ],
)
def test_a_client_is_told_what_it_can_do(text, told):
    """Not what it would take the machine of the server for, where there is another way."""
    detail = problem_of(errors.CalibrationError(text)).detail
    assert told in detail
    assert "lmm-classifier calibrate" not in detail
    assert "lmm-classifier sync" not in detail


@given(st.floats())
def test_retry_after_is_a_whole_number(seconds):
    """Between 1 second and an hour, also for what is no number."""
    assert 1 <= int(whole_seconds(seconds)) <= 3600


@given(st.text())
def test_any_text_can_be_told(text):
    """Surrogates, control characters and markup stay inside of the JSON, on one line."""
    values = problem_values(ProblemError("not-found", text), "/x")
    assert json.loads(json.dumps(values).encode("ascii"))["status"] == 404
    assert values["detail"].isprintable()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/none", 404),
        ("GET", "/v1/classify", 405),
        ("PUT", "/v1/examples", 405),
        ("OPTIONS", "/v1/classify", 405),
        ("TRACE", "/v1/index", 405),
        ("GET", "//v1/index", 404),
        ("GET", "/v1/index/", 404),
        ("GET", "/v1/../../etc/passwd", 404),
        ("GET", "/%00", 404),
        ("GET", "/<img src=x onerror=alert(1)>", 404),
        ("GET", "/\u202e", 404),
    ],
)
def test_what_is_not_there(client, method, path, status):
    """404 and 405, with all headers; the address is repeated as it was sent, percent-encoded."""
    reply = client.request(method, path)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    assert reply.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<img" not in reply.text
    if status == 405:
        assert reply.headers["allow"]


def test_a_mistake_of_the_server_is_500(client, monkeypatch):
    """A problem, with the headers of every answer, and without what went wrong."""

    def fails(self):
        raise RuntimeError(SECRET)

    monkeypatch.setattr("lmm_classifier.server.metrics.Metrics.text", fails)
    reply = client.get("/metrics")
    assert (reply.status_code, reply.json()["type"]) == (500, "/problems/internal-error")
    assert SECRET not in reply.text
    assert reply.headers["x-content-type-options"] == "nosniff"
