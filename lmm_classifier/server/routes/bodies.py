"""JSON bodies of requests, with strict types and without unknown members."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from starlette.requests import Request

from lmm_classifier.index.dismissals import FindingKind
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.state import ServerState
from lmm_classifier.server.uploads import Upload

MAX_JSON = 8_000_000  # bytes
MAX_NUMBER = 2**63 - 1
_LABEL = 1000  # characters
Model = TypeVar("Model", bound=BaseModel)

ContentHash = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
LabelText = Annotated[str, StringConstraints(min_length=1, max_length=_LABEL)]
Note = Annotated[str, StringConstraints(max_length=2000)]


def _whole(value: Any) -> Any:
    """Return 1 for 1.0: they are the same number in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


FromOne = Annotated[int, Field(ge=1, le=MAX_NUMBER), BeforeValidator(_whole)]


class Body(BaseModel):
    """A body of a request."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


class SeenExample(Body):
    """An example with the label that the caller saw."""

    id: ContentHash
    seen_label: LabelText
    path: Annotated[str, StringConstraints(max_length=10_000)] | None = None
    """Its id in the dataset, where several examples have this content."""


Seen = Annotated[list[SeenExample], Field(min_length=1, max_length=10_000)]


class Removal(Body):
    """Examples to remove."""

    examples: Seen
    note: Note = ""


class Relabeling(Body):
    """Examples, and the label that they are to have."""

    examples: Seen
    label: LabelText
    note: Note = ""


class Renaming(Body):
    """A label, and its new name."""

    label: LabelText
    new: LabelText
    note: Note = ""


class Undoing(Body):
    """Why an edit is undone."""

    note: Note = ""


class FoundExample(Body):
    """An example of a finding, with its label there."""

    id: ContentHash
    label: LabelText


_OF_ONE_EXAMPLE: dict[str, Any] = {
    "if": {"properties": {"kind": {"enum": ["label", "outlier"]}}},
    "then": {"properties": {"examples": {"maxItems": 1}}},
}


class FindingSeen(Body):
    """A finding of the audit; one of the kinds `label` and `outlier` is about one example."""

    model_config: ClassVar[ConfigDict] = ConfigDict(json_schema_extra=_OF_ONE_EXAMPLE)

    kind: FindingKind
    examples: Annotated[list[FoundExample], Field(min_length=1, max_length=10_000)]


class Dismissing(Body):
    """Findings that a person calls right."""

    findings: Annotated[list[FindingSeen], Field(min_length=1, max_length=10_000)]
    note: Note = ""


LEAST_RATE = 0.001  # the complement of a much smaller one is 1 in floating point
Rate = Annotated[float, Field(ge=LEAST_RATE, lt=1)]


class CalibrationTargets(Body):
    """What the thresholds are to guarantee; what is not mentioned stays as it was asked for before."""

    recalibrate: bool = False
    """Fit everything to the present examples again, in the background; else only the thresholds are set."""
    target_precision: Rate | None = None
    confidence_level: Rate | None = None
    keep_known: Rate | None = None


class Login(Body):
    """A token that a page exchanges for a cookie."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class NewRun(Body):
    """A run over a folder below a root of the server; without a root, over images that are uploaded later."""

    root: Annotated[str, StringConstraints(min_length=1, max_length=40)] | None = None
    folder: Annotated[str, StringConstraints(max_length=4000)] = ""


class Labeling(Body):
    """The label that items get."""

    label: LabelText


AnswerWord = Literal["unknown", "skip", "not_in_group", "accept"]


class Acceptance(Body):
    """The open items of a run whose results are to be accepted: those that decide themselves at a target precision."""

    run: FromOne
    target: Annotated[float, Field(gt=0, le=1)] | None = None


class NewAnswer(Body):
    """What a person decided about items of one run."""

    items: Annotated[list[FromOne], Field(min_length=1, max_length=10_000)]
    decision: Labeling | AnswerWord

    @field_validator("decision", mode="before")
    @classmethod
    def _is_one_of_both(cls, value: Any) -> Any:
        if isinstance(value, dict) or value in get_args(AnswerWord):
            return value
        words = ", ".join(f'"{word}"' for word in get_args(AnswerWord))
        expected = f'{{"label": TEXT}}, or one of {words}'
        raise PydanticCustomError("decision", "Input should be {expected}", {"expected": expected})


_MODELS = (
    SeenExample,
    FoundExample,
    FindingSeen,
    Dismissing,
    Removal,
    Relabeling,
    Renaming,
    Undoing,
    CalibrationTargets,
    Login,
    NewRun,
    Labeling,
    NewAnswer,
    Acceptance,
)


_NAMES = {model.__name__ for model in _MODELS}  # in a place, of the type of a value that may have several


def body_schemas() -> dict[str, Any]:
    """Return the JSON Schema of each body by its name."""
    schemas = {
        model.__name__: model.model_json_schema(ref_template="#/components/schemas/{model}") for model in _MODELS
    }
    for schema in schemas.values():
        schema.pop("$defs", None)  # each is a schema of its own
    return schemas


def whole_number(text: str, what: str, least: int = 1) -> int:
    """Return a number of an address; raise ProblemError where it is none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and least <= int(text) <= MAX_NUMBER):
        raise ProblemError("malformed-request", f"{what} must be a number from {least} on, got {text[:40]!r}.")
    return int(text)


def switch(request: Request, name: str, default: bool = True) -> bool:
    """Return a switch of the query; raise ProblemError where it is neither true nor false."""
    value = request.query_params.get(name, str(default).lower())
    if value not in ("true", "false"):
        raise ProblemError("malformed-request", f"{name} must be true or false, got {value[:40]!r}.")
    return value == "true"


async def read_body(request: Request, state: ServerState, model: type[Model]) -> Model:
    """Return the JSON body of a request.

    Raises:
        ProblemError: it is no JSON, too large, or has other members.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a form of another site cannot send this type
        raise ProblemError(
            "unsupported-media-type", f"Expected application/json, got {kind!r}.", {"Connection": "close"}
        )
    upload = Upload(request, state.held, MAX_JSON)
    async with upload.opened():
        data = await upload.whole()
        try:
            return model.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"] if part not in _NAMES) or "the body"
            said = first["msg"]
            if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
                said = f"There is no such member. Those that exist: {', '.join(model.model_fields)}"
            raise ProblemError("malformed-request", f"{place}: {said}.") from None
