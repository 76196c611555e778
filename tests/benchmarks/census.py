"""What a compiled program does: collectives by kind and bytes, and matrix FLOPs, loops counted by their trips."""

import math
import re
from typing import NamedTuple

KINDS = ("all-to-all", "all-gather", "all-reduce", "reduce-scatter", "collective-permute", "collective-broadcast")
BYTES = {
    "pred": 1,
    "s8": 1,
    "u8": 1,
    "u16": 2,
    "bf16": 2,
    "f16": 2,
    "s32": 4,
    "u32": 4,
    "f32": 4,
    "s64": 8,
    "u64": 8,
    "f64": 8,
}


class Census(NamedTuple):
    """Counts of one device's program.

    Attributes:
        collectives: kind -> (number, bytes of the results), a loop's body times its trips.
        flops: of matrix products.
        lines: of HLO.
    """

    collectives: dict[str, tuple[int, int]]
    flops: float
    lines: int

    @property
    def nbytes(self) -> int:
        """Bytes of all collectives' results."""
        return sum(size for _, size in self.collectives.values())

    @property
    def kinds(self) -> set[str]:
        """Kinds of collectives."""
        return set(self.collectives)


def census(compiled) -> Census:
    """Count in the optimised HLO of ``jax.jit(f).lower(...).compile()``."""
    text = re.sub(r"/\*.*?\*/", "", compiled.as_text())
    found, entry = computations(text)
    collectives: dict[str, tuple[int, int]] = {}
    flops = _count(found, entry, 1, collectives)
    return Census(collectives, flops, text.count("\n"))


def computations(text):
    """Lines of every computation of an optimised HLO text, by name, and the name of the entry."""
    computations, entry, name = {}, None, None
    for line in text.splitlines():
        head = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$", line)
        if head:
            name = head[2]
            computations[name] = []
            entry = name if head[1] else entry
        elif name and line.startswith("}"):
            name = None
        elif name:
            computations[name].append(line)
    return computations, entry


def in_branches(text):
    """Collectives inside the branches of conditionals, and what these call, in an optimised HLO text: (where, kind)."""
    found, _ = computations(text)
    calls = {
        name: {n for line in lines for n in re.findall(r"%?([\w.\-]+)", line) if n in found}
        for name, lines in found.items()
    }
    inside, todo = set(), []
    for lines in found.values():
        for line in lines:
            names = re.search(r" conditional\(.*(?:branch_computations=\{.*?\}|true_computation=.*)", line)
            todo += [n for n in re.findall(r"%?([\w.\-]+)", names[0])] if names else []
    while todo:
        name = todo.pop()
        if name in found and name not in inside:
            inside.add(name)
            todo += calls[name]
    kinds = re.compile(rf" ({'|'.join(KINDS)})(?:-start)?\(")
    return [(name, kind[1]) for name in sorted(inside) for line in found[name] if (kind := kinds.search(line))]


def _count(computations, name, times, collectives):
    flops, shapes = 0.0, {}
    for line in computations[name]:
        found = re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = (\(?.*?\)?) ([\w\-]+)\((.*)$", line)
        if not found:
            continue
        result, shape, op, rest = found.groups()
        shapes[result] = shape
        kind = op.removesuffix("-start")
        if kind in KINDS:
            number, size = collectives.get(kind, (0, 0))
            shape = shape.rsplit(", ", 1)[-1] if op.endswith("-start") and kind != "all-to-all" else shape
            collectives[kind] = (number + times, size + times * nbytes(shape))
        elif op == "dot":
            flops += times * _dot(shape, rest, shapes)
        elif op == "while":
            trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
            body = re.search(r"body=%?([\w.\-]+)", line)[1]
            flops += _count(computations, body, times * (int(trips[1]) if trips else 1), collectives)
        elif op == "conditional":
            names = re.search(r"branch_computations=\{(.*?)\}", line) or re.search(r"true_computation=.*", line)
            branches = [n for n in re.findall(r"%([\w.\-]+)", names[0]) if n in computations]
            flops += max((_count(computations, branch, times, collectives) for branch in branches), default=0.0)
        else:
            for called in re.findall(r"(?:calls|to_apply|called_computations)=\{?%?([\w.\-]+)", line):
                if called in computations and op in ("fusion", "call", "async-start", "custom-call"):
                    flops += _count(computations, called, times, collectives)
    return flops


def _dot(shape, rest, shapes):
    contracted = [int(i) for i in re.search(r"lhs_contracting_dims=\{([\d,]*)\}", rest)[1].split(",") if i]
    inline = re.match(r"\w+\[([\d,]*)\]", rest)
    left = inline[1] if inline else re.search(r"\[([\d,]*)\]", shapes[re.match(r"%?([\w.\-]+)", rest)[1]])[1]
    lengths = [int(i) for i in left.split(",") if i]
    out = [int(i) for i in re.search(r"\[([\d,]*)\]", shape)[1].split(",") if i]
    return 2.0 * math.prod(out) * math.prod(lengths[i] for i in contracted)


def nbytes(shape: str) -> int:
    """Bytes of an HLO shape, tuples summed."""
    total = 0
    for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", shape):
        total += BYTES.get(dtype, 0) * math.prod(int(i) for i in dims.split(",") if i)
    return total
