"""Formulas as MathML, which browsers draw by themselves: the pages read the same without a network."""

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

UNKNOWN_TO_CONVERTER = {"\\arg": "\\operatorname{arg}"}
COMMAND = re.compile(r"\\[a-zA-Z]+")


def mathml(formula: str, **options: str) -> str:
    """Convert a formula.

    Raises:
        ValueError: for a command that the converter does not know, and would print as it stands.
    """
    known = COMMAND.sub(lambda found: UNKNOWN_TO_CONVERTER.get(found[0], found[0]), formula)
    converted = convert(known, **options)
    if unknown := COMMAND.search(re.sub("<[^>]*>", " ", converted)):
        raise ValueError(f"unknown command {unknown[0]} in the formula {formula}")
    return converted


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{mathml(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
