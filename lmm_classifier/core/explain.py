"""The sentence that explains a result."""

from __future__ import annotations

from collections.abc import Sequence


def explain(
    reason: str,
    scores: Sequence[tuple[str, float]],
    answer: tuple[str, float],
    similarity: float | None,
    familiarity: float | None,
    error: str | None,
) -> str:
    """Return one plain sentence with the numbers behind the decision on an image.

    Args:
        reason: of the decision.
        scores: candidate labels with retrieval's scores, in any order.
        answer: the label that was given, with its score.
        similarity: cosine of the nearest example.
        familiarity: of the image.
        error: why a file could not be read, or the reranker gave no answer.
    """
    if not scores:
        return error or "no example to compare with"
    (best, score), *others = sorted(scores, key=lambda item: -item[1])
    rival = f", next {others[0][0]} {others[0][1]:.2f}" if others else ""
    vote = f"vote {best} {score:.2f}{rival}"
    nearest = f"nearest similarity {similarity:.2f}"
    familiar = nearest if familiarity is None else f"familiarity {familiarity:+.1f}, {nearest}"
    match reason:
        case "confident":
            return f"{vote}; {familiar}"
        case "rolled_up":
            return f"labels compete: {vote}; together {answer[0]} {answer[1]:.2f}"
        case "ambiguous":
            return f"labels compete: {vote}; best guess without reranking"
        case "novel":
            return f"not familiar: {familiar}"
        case "forced":
            return f"not familiar ({familiar}), but unknown is not allowed: {vote}"
        case "reranked":
            return f"labels competed: {vote}; the reranker chose {answer[0]} {answer[1]:.2f}"
        case "reranker_failed":
            return f"labels compete: {vote}; the reranker gave no answer, so the vote stands ({error})"
        case _:
            return vote
