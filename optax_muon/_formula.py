"""Whole numbers by formula: what a card writes to be read is also what a test counts with."""

import ast
import operator
from collections.abc import Callable, Mapping

OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
}


def evaluate(formula: str, names: Mapping[str, int]) -> int:
    """Evaluate sums, products, powers and ``min`` of whole numbers and ``names``.

    Raises:
        ValueError: for anything else, naming the part that is not one of these.
    """
    try:
        tree = ast.parse(formula, mode="eval")
    except SyntaxError as error:
        raise ValueError(f"{formula!r} is no formula: {error.msg}") from error
    return _value(tree.body, names)


def _value(node: ast.expr, names: Mapping[str, int]) -> int:
    """Evaluate one node; Python's own grammar has settled precedence and brackets."""
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(left, names), _value(right, names))
        case ast.Call(func=ast.Name(id="min"), args=[_, *_], keywords=[]):
            return min(_value(argument, names) for argument in node.args)
    raise ValueError(f"{ast.unparse(node)!r} is no sum, product, power or min of numbers and {', '.join(names)}")
