"""Writes docs/zoo.md from the registry and from the records of the comparison.

Run after adding an optimizer: python docs/make_zoo.py
"""

import json
import pathlib
import re

import optax_muon as om

HERE = pathlib.Path(__file__).parent
RECORDS = [HERE / "records" / name / "record.json" for name in ("registry", "registry_newer")]
INTRODUCTION = """# The zoo

Every named optimizer, from its card in `om.registry`. *Confidence* says how surely the rule is known: EXACT where the
algorithm was read, PARTIAL where pieces of it were not, OUR READING where only an abstract was found. *State* is in
floats per parameter of a matrix, and per matrix beside. *Chain* is what is built by default, stage by stage, with the
transforms' own names. This page is generated: `python docs/make_zoo.py`.

All take hidden matrices and stand in `om.for_matrices(om.<name>(...), otherwise=...)`, but those of kind *roles*, which
take the whole tree, and of kind *any*, which take it or are the `otherwise`. Those that ask for
`grads_at_previous_params` need a second gradient per step on the same batch, twice the forward and backward work:
`om.step_with_two_gradients` makes the training step. `input_moments` are made by `om.diagnostics.input_moments`.

"""


def results() -> dict[str, dict[str, dict]]:
    """Rows of the comparison by workload and optimizer, of both its parts; empty before it was run."""
    found: dict[str, dict[str, dict]] = {}
    for record in filter(pathlib.Path.exists, reversed(RECORDS)):
        for workload, rows in json.loads(record.read_text())["results"].items():
            found[workload] = found.get(workload, {}) | rows
    return found


def overview(measured: dict[str, dict[str, dict]]) -> str:
    """Draw one row per optimizer."""
    names = "".join(f" {workload} |" for workload in measured)
    lines = [f"| optimizer | confidence | state |{names}", "|---|---|---|" + "---|" * len(measured)]
    for name in [*(["adamw"] if measured else []), *sorted(om.registry)]:
        card = om.registry.get(name)
        about = f"{card.confidence} | {_markdown(str(card.state))}" if card else " | 2"
        losses = "".join(f" {_loss(rows.get(name))} |" for rows in measured.values())
        link = f"[{name}](#{name.replace('_', '-')})" if card else "optax.adamw"
        lines.append(f"| {link} | {about} |{losses}")
    return "\n".join(lines) + "\n"


def _loss(row: dict | None) -> str:
    return "-" if row is None else f"{row['mean']:.3f} ± {row['deviation']:.3f}"


def section(card: om.Card) -> str:
    """Draw one optimizer."""
    paper = re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", card.paper)
    paper = re.sub(r"(?<!/)github\.com/[\w./-]+\w", r"[\g<0>](https://\g<0>)", paper)
    lines = [f"### {card.name}", "", f"{paper}.", "", f"- chain: {card.chain}"]
    lines += [f"- {_markdown(card.deviations[0].lower() + card.deviations[1:])}"] if card.deviations != "none" else []
    extras = [f"kind: {card.kind}"] if card.kind != "matrix" else []
    extras += [f"also takes: {', '.join(f'`{x}`' for x in card.extra_args)}"] if card.extra_args else []
    rate = f"- where to start: learning rate {card.learning_rate:g}"
    return "\n".join([*lines, "; ".join([rate, *extras])]) + "\n"


def _markdown(text: str) -> str:
    """Turn a docstring's marks into those of a page."""
    return re.sub(r":math:`(.*?)`", r"$\1$", text).replace("``", "`")


def page() -> str:
    """Draw the page."""
    measured = results()
    text = INTRODUCTION
    if measured:
        text += (
            "Losses are validation losses after equal steps of a small character GPT and of an MLP on digits, every "
            "learning\nrate tuned in the same way, means of three seeds: see [the comparison](comparison.md).\n\n"
        )
    cards = "\n".join(section(om.registry[name]) for name in sorted(om.registry))
    return text + overview(measured) + "\n## Cards\n\n" + cards


if __name__ == "__main__":
    (HERE / "zoo.md").write_text(page())
