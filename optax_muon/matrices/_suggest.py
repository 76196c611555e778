"""The error for parameters that cannot be told: one line for like ones, each a rule that settles them."""

import glob
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from optax_muon.matrices._leaf import Leaf, Split
from optax_muon.matrices._paths import matches

Shape = tuple[int, ...]

# Numbers of layers: a whole token, or what follows an underscore or a bracket; ``w1`` and ``w2`` are names.
NUMBER = re.compile(r"(?:^|(?<=[/_\[]))\d+(?=[/\]]|$)")
SHOWN = 14
ELSE = (
    "Or let the model tell: om.leaves_from_call(fn, params, *inputs) reads any forward pass, "
    "om.leaves_from_flax(model, *inputs) Flax's modules too, where modules={Class: {name: om.Leaf(...)}} serves layers "
    "of your own. 'other' in place of a Leaf leaves a parameter to the other optimizer."
)


class Unknown(NamedTuple):
    """Why a parameter cannot be told, and the rule that would settle it in the most common case."""

    why: str
    rule: Leaf | str | None = None


class LikeParameters(NamedTuple):
    """Parameters that one rule settles."""

    pattern: str
    paths: Sequence[str]
    unknown: Unknown


def message(unknown: Mapping[str, Unknown], shapes: Mapping[str, Shape]) -> str:
    """Name every parameter that is not known, folded over the numbers of layers, with rules to paste."""
    return (
        f"cannot tell what {len(unknown)} of {len(shapes)} parameters are. Rules that settle them, to be put before "
        f"others once you have checked roles and axes:\nrules=[\n{rule_lines(unknown, shapes)}\n]\n{ELSE}"
    )


def rule_lines(unknown: Mapping[str, Unknown], shapes: Mapping[str, Shape]) -> str:
    """Write the rules that settle these parameters, one line for like ones."""
    groups = _groups(unknown, shapes)
    groups = groups if len(groups) <= SHOWN else _by_tail(groups, shapes)
    lines = [f"    {_line(group, shapes)}" for group in groups[:SHOWN]]
    if len(groups) > SHOWN:
        lines.append(f"    # and {len(groups) - SHOWN} more kinds; these come first")
    return "\n".join(lines)


def likely(shape: Shape, role: str = "hidden") -> Leaf | str:
    """Axes that an array of this shape has most often: the last two are (in, out)."""
    rank = len(shape)
    return Leaf(role, rank - 2, rank - 1) if rank > 1 else "vector"  # pyright: ignore[reportArgumentType]


def code(rule: Leaf | str) -> str:
    """Write a rule's target as Python."""
    if not isinstance(rule, Leaf):
        return repr(rule)
    sides = [axes[0] if len(axes) == 1 else axes for axes in (rule.reduction, rule.output)]
    arguments = [repr(rule.role), *map(str, sides)] if rule.output or rule.reduction else [repr(rule.role)]
    if rule.split is not None:
        on_output = rule.split.side == "output"
        arguments.append(f"split={rule.split.sizes if on_output else _split(rule.split)}")
    return f"om.Leaf({', '.join(arguments)})"


def folded(paths: Iterable[str]) -> dict[str, list[str]]:
    """Group paths that differ in the numbers of layers alone, under a glob; what stands alone is its own."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(NUMBER.sub("*", path), []).append(path)
    return {fold if len(same) > 1 else same[0]: same for fold, same in groups.items()}


def listed(paths: Iterable[str], most: int = SHOWN) -> str:
    """Join paths, folded and counted, ``most`` of them."""
    groups = folded(paths)
    told = [name if len(same) == 1 else f"{name} ({len(same)} times)" for name, same in groups.items()]
    return ", ".join(told[:most]) + (f" and {len(told) - most} more" if len(told) > most else "")


def _split(split: Split) -> str:
    return f"om.Split({split.sizes}, {split.side!r})"


def _line(group: LikeParameters, shapes: Mapping[str, Shape]) -> str:
    """Write one rule, with how many parameters of which shape it is for, and why it is needed."""
    shape = shapes[group.paths[0]]
    rule = likely(shape) if group.unknown.rule is None else group.unknown.rule
    count = "" if len(group.paths) == 1 else f"{len(group.paths)} of "
    return f"({group.pattern!r}, {code(rule)}),  # {count}{shape}: {' '.join(group.unknown.why.split())}"


def _groups(unknown: Mapping[str, Unknown], shapes: Mapping[str, Shape]) -> list[LikeParameters]:
    """Put together what one rule settles."""
    alike: dict[tuple, list[str]] = {}
    for path, told in unknown.items():
        # A reason may name its own path or lengths; then the first speaks for all.
        rule = None if told.rule is None else code(told.rule)
        alike.setdefault((NUMBER.sub("*", path), len(shapes[path]), rule), []).append(path)
    groups = []
    for paths in alike.values():
        for pattern, covered in _patterns(paths, shapes):
            groups.append(LikeParameters(pattern, covered, unknown[covered[0]]))
    return groups


def _by_tail(groups: Sequence[LikeParameters], shapes: Mapping[str, Shape]) -> Sequence[LikeParameters]:
    """Put together what is called alike wherever it stands, where a glob of the last name fits nothing else."""
    alike: dict[tuple, list[LikeParameters]] = {}
    for group in groups:
        rule = None if group.unknown.rule is None else code(group.unknown.rule)
        alike.setdefault((group.pattern.split("/")[-1], len(shapes[group.paths[0]]), rule), []).append(group)
    made: list[LikeParameters] = []
    for (tail, *_), same in alike.items():
        paths = [path for group in same for path in group.paths]
        others = (path for path, shape in shapes.items() if path not in paths and len(shape) > 1)
        if len(same) == 1 or "*" in tail or any(matches(path, tail) for path in others):
            made += same
        else:
            made.append(LikeParameters(tail, paths, same[0].unknown))
    return made


def _patterns(paths: Sequence[str], shapes: Mapping[str, Shape]) -> Iterable[tuple[str, Sequence[str]]]:
    """Globs that match these paths, and of the others only arrays of rank one, which no rule makes matrices."""
    for name, same in folded(paths).items():
        # A number was replaced by a star; whatever else has a meaning in a glob is a character of a name.
        glob_ = glob.escape(name).replace("[*]", "*") if len(same) > 1 else name
        for pattern in (glob_, f"/{glob_}"):
            if not any(matches(p, pattern) and p not in same and len(n) > 1 for p, n in shapes.items()):
                yield pattern, same
                break
        else:
            yield from ((f"/{path}", [path]) for path in same)
