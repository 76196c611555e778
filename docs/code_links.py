"""Names in `code` on a page, and in backticks in a docstring, become links to their entry on the API page."""

import inspect
import re
import types
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

import optax_muon as om

# What stands before the name may be the package or nothing; what follows it, arguments.
CODE = re.compile(r"(om\.|optax_muon\.)?((?:\w+\.)*\w+)(\(.*\))?", flags=re.DOTALL)


def _public() -> Iterator[tuple[str, str, Any]]:
    """Give the room ("" for the package itself), name and object of everything public."""
    for name in om.__all__:
        thing = getattr(om, name)
        if not isinstance(thing, types.ModuleType):
            yield "", name, thing
            continue
        for inner, value in vars(thing).items():
            if not inner.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                yield name, inner, value


def targets() -> dict[str, str]:
    """Give the API page's entry of every name; a bare name that two rooms use has none."""
    entries: dict[str, str] = {}
    for room, name, _ in sorted(_public(), key=lambda entry: entry[0], reverse=True):
        if room:
            entries[f"{room}.{name}"] = f"optax_muon.{room}.{name}"
            entries[name] = "" if name in entries else f"optax_muon.{room}.{name}"
        elif hasattr(om.optimizers, name):
            entries[name] = f"optax_muon.optimizers.{name}"
        else:
            entries[name] = entries.get(name) or f"optax_muon.{name}"
    return entries


def arguments() -> frozenset[str]:
    """Give the names of all arguments: such a word alone means the argument, not the function of that name."""
    functions = [thing for _, _, thing in _public() if inspect.isfunction(thing)]
    return frozenset(name for function in functions for name in inspect.signature(function).parameters)


def link(app: Sphinx, doctree: nodes.document) -> None:
    """Wrap every piece of inline code that is a public name."""
    on_api = app.env.docname == "api"
    for quoted in list(doctree.findall(nodes.title_reference)):
        quoted.replace_self(nodes.literal("", quoted.astext(), classes=["quoted"]))
    known, words = app.config.code_links_targets, app.config.code_links_arguments
    for literal in list(doctree.findall(nodes.literal)):
        match = CODE.fullmatch(literal.astext())
        entry = known.get(match[2]) if match else None
        if match and match[2] in words and not (match[1] or match[3]) and "quoted" not in literal["classes"]:
            continue
        if not entry or (on_api and "quoted" not in literal["classes"]):
            continue
        if isinstance(literal.parent, nodes.reference | addnodes.pending_xref):
            continue
        reference = addnodes.pending_xref(
            "", refdomain="py", reftype="obj", reftarget=entry, refdoc=app.env.docname, refexplicit=True, refwarn=False
        )
        literal.replace_self(reference)
        reference += literal


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the pass."""
    app.add_config_value("code_links_targets", targets(), "")
    app.add_config_value("code_links_arguments", arguments(), "")
    app.connect("doctree-read", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
