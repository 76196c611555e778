"""Names in `code` on a page become links to their entry on the API page."""

import inspect
import re
import types
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

import optax_muon as om

# What stands before the name may be the package or nothing; what follows it, arguments.
CODE = re.compile(r"(?:om\.|optax_muon\.)?((?:\w+\.)*\w+)(?:\(.*\))?", flags=re.DOTALL)


def targets() -> dict[str, str]:
    """Give the entry of every name; a bare name that two rooms use has none."""
    found: dict[str, str] = {}
    rooms = {name: getattr(om, name) for name in om.__all__ if isinstance(getattr(om, name), types.ModuleType)}
    for room, module in rooms.items():
        for name, thing in vars(module).items():
            if name.startswith("_") or not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            entry = f"optax_muon.{room}.{name}"
            found[f"{room}.{name}"] = entry
            found[name] = "" if name in found else entry
    top = [name for name in om.__all__ if name not in rooms]
    return found | {
        name: f"optax_muon.optimizers.{name}" if name in om.registry else found.get(name) or f"optax_muon.{name}"
        for name in top
    }


def link(app: Sphinx, doctree: nodes.document) -> None:
    """Wrap every piece of inline code that is a public name."""
    if app.env.docname == "api":
        return
    known = app.config.code_links_targets
    for literal in list(doctree.findall(nodes.literal)):
        match = CODE.fullmatch(literal.astext())
        entry = known.get(match[1]) if match else None
        if not entry or isinstance(literal.parent, nodes.reference | addnodes.pending_xref):
            continue
        reference = addnodes.pending_xref(
            "", refdomain="py", reftype="obj", reftarget=entry, refdoc=app.env.docname, refexplicit=True, refwarn=False
        )
        literal.replace_self(reference)
        reference += literal


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the pass."""
    app.add_config_value("code_links_targets", targets(), "")
    app.connect("doctree-read", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
