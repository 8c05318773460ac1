"""The changes that are tried: comparisons, signs, operators, conditions and constants, by cosmic-ray's operators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import parso
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import get_operator

_COMPARISONS = (
    ("Eq", "NotEq"), ("NotEq", "Eq"), ("Is", "IsNot"), ("IsNot", "Is"),
    ("Lt", "LtE"), ("Lt", "Gt"), ("LtE", "Lt"), ("LtE", "GtE"),
    ("Gt", "GtE"), ("Gt", "Lt"), ("GtE", "Gt"), ("GtE", "LtE"),
)  # fmt: skip
_BINARY = (
    ("Add", "Sub"), ("Sub", "Add"), ("Mul", "Div"), ("Div", "Mul"), ("FloorDiv", "Mul"), ("Mod", "Mul"),
    ("Pow", "Mul"), ("LShift", "RShift"), ("RShift", "LShift"), ("BitOr", "BitAnd"), ("BitAnd", "BitOr"),
)  # fmt: skip
_OTHERS = (
    "NumberReplacer", "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ReplaceUnaryOperator_Delete_USub",
    "ReplaceUnaryOperator_Delete_Invert", "ReplaceUnaryOperator_Delete_Not",
)  # fmt: skip

_SWAPS = {"in": "not in", "not in": "in", "+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "&=": "|=", "|=": "&="}


class SwapTokens(Operator):
    """Replaces `in` by `not in`, `+=` by `-=` and so on, and the reverse; cosmic-ray leaves these as they are."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Yield the place of an operator that has a counterpart."""
        parts = node.children[1::2] if node.type == "comparison" else [node] if _is_assignment(node) else []
        for part in parts:
            if _text(part) in _SWAPS:
                yield part.start_pos, part.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Return the node with its operator of number `index` replaced."""
        if node.type != "comparison":
            node.value = _SWAPS[node.value]
            return node
        places = [place for place in range(1, len(node.children), 2) if _text(node.children[place]) in _SWAPS]
        place = places[index]
        node.children[place] = parso.parse(" " + _SWAPS[_text(node.children[place])])
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return what cosmic-ray shows of it."""
        return (Example("x in y", "x not in y"), Example("x += 1", "x -= 1"))


def _is_assignment(node: Any) -> bool:
    return node.type == "operator" and node.parent is not None and node.parent.type in {"annassign", "expr_stmt"}


def _text(node: Any) -> str:
    return " ".join(node.get_code().split())


def operators() -> dict[str, Operator]:
    """Return the operators by name."""
    names = [
        *(f"ReplaceComparisonOperator_{old}_{new}" for old, new in _COMPARISONS),
        *(f"ReplaceBinaryOperator_{old}_{new}" for old, new in _BINARY),
        *_OTHERS,
    ]
    return {**{name: get_operator(f"core/{name}")() for name in names}, "SwapTokens": SwapTokens()}
