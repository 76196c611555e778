"""The TPU compiler's own estimate of a program's time, read from its text: cycles, loops counted by their trips.

Every kernel of a compiled TPU program carries ``estimated_cycles``. A product of bfloat16 matrices 1024 x 4096 by its
transpose is put at 70,450 of them on a v5e, which is 93 % of the chip's rate. Neither collectives nor asynchronous
copies are in it: both may run beside a kernel, and their bytes are given instead. A program with a kernel that carries
no estimate, or with a loop of unknown trips, has no figure.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Cycles of a second, by kind of chip: rate of bfloat16 FLOPs over those of one cycle.
CLOCK = {"v5e": 1.5e9, "v5p": 1.75e9, "v6e": 1.75e9}

COLLECTIVES = ("all-to-all", "all-gather", "all-reduce", "reduce-scatter", "collective-permute", "ragged-all-to-all")
# What moves or names data without a kernel, and what holds other computations.
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "partition-id",
    "replica-id", "copy-start", "copy-done", "slice-start", "slice-done", "dynamic-slice-start", "dynamic-slice-done",
    "while", "conditional", "call", "async-start", "async-update", "async-done", "domain", "add-dependency",
    *(name + end for name in COLLECTIVES for end in ("", "-start", "-done")),
}  # fmt: skip
# Custom calls that are addresses, not kernels.
ADDRESSES = ("AllocateBuffer", "ConcatBitcast", "Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape")
BYTES = {"pred": 1, "bf16": 2, "f16": 2, "c64": 8, "c128": 16}


class Cost(NamedTuple):
    """What a program costs on one chip.

    Attributes:
        cycles: of all kernels; None where `unknown` is not empty.
        scopes: cycles of the kernels under each scope asked for, by `jax.named_scope`; "" for the others.
        unknown: kernels without an estimate and loops of unknown trips.
        silent: bytes that kernels without an estimate read and write, by scope as above.
        collectives: kind -> how many are carried out.
        nbytes: bytes of the collectives' results.
        beside: bytes of those that kernels run beside: between start and end, or in one kernel with them.
        copied: bytes of the results of asynchronous copies.
        kernels: the dearest ones: cycles, and the name of what they do.
    """

    cycles: int | None
    scopes: dict[str, int]
    unknown: tuple[str, ...]
    silent: dict[str, int]
    collectives: dict[str, int]
    nbytes: int
    beside: int
    copied: int
    kernels: tuple[tuple[int, str], ...]


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    type: str
    opcode: str
    line: str

    def called(self, *attributes: str) -> list[str]:
        """Names of the computations that an attribute names, singly or in braces."""
        found = []
        for attribute in attributes:
            for braced, single in re.findall(rf"\b{attribute}=(?:\{{([^}}]*)\}}|%?([\w.\-]+))", self.line):
                found += [part.strip().lstrip("%") for part in (braced or single).split(",")]
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of the result."""
        shapes = re.findall(r"([a-z]\w*)\[([\d,]*)\]", self.type)
        return sum(int(_itemsize(dtype) * math.prod(int(n) for n in dims.split(",") if n)) for dtype, dims in shapes)


def read(text: str, scopes: Sequence[str] = ()) -> Cost:
    """Add up the estimates of a compiled TPU program, ``compiled.as_text()``.

    Loops count as often as they run, a conditional as its dearest branch. Each kernel belongs to the first of
    ``scopes`` that its name contains.
    """
    program = _Program(text, tuple(scopes))
    total, scoped, moved, kernels = program.cost(program.entry)
    names = tuple(sorted(program.unknown))
    kinds = {kind: n for kind, n in moved.items() if kind in COLLECTIVES}
    dearest = tuple(sorted(((n, name) for name, n in kernels.items()), reverse=True)[:12])
    by_scope = {scope: scoped[scope] for scope in (*scopes, "")}
    return Cost(
        cycles=None if names else total,
        scopes=by_scope,
        unknown=names,
        silent={scope: moved[f"silent {scope}"] for scope in by_scope},
        collectives=kinds,
        nbytes=moved["bytes"],
        beside=moved["beside"],
        copied=moved["copied"],
        kernels=dearest,
    )


class _Program:
    """The computations of a program, and what was found unknown in those that run."""

    def __init__(self, text: str, scopes: tuple[str, ...]):
        self.computations: dict[str, list[Instruction]] = {}
        self.scopes, self.entry, self.unknown = scopes, "", set()
        self.known: dict[str, tuple[int, Counter, Counter, Counter]] = {}
        self.sizes: dict[str, int] = {}
        current: list[Instruction] = []
        for line in text.splitlines():
            head = re.match(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
            if head:
                current = self.computations[head.group(2)] = []
                self.entry = head.group(2) if head.group(1) else self.entry
            elif instruction := _instruction(line):
                current.append(instruction)
                self.sizes[instruction.name] = instruction.nbytes

    def cost(self, name: str) -> tuple[int, Counter, Counter, Counter]:
        """Cycles of one computation, the same by scope, what it moves, and cycles by kernel."""
        if name not in self.known:
            total, scoped, moved, kernels = 0, Counter(), Counter(), Counter()
            for one in self.computations.get(name, ()):
                for trips, part in self._parts(one):
                    total += trips * part[0]
                    for sums, more in zip((scoped, moved, kernels), part[1:], strict=True):
                        sums.update({key: trips * n for key, n in more.items()})
            moved["beside"] += self._beside(self.computations.get(name, ()))
            self.known[name] = total, scoped, moved, kernels
        return self.known[name]

    def _parts(self, one: Instruction) -> Iterator[tuple[int, tuple[int, Counter, Counter, Counter]]]:
        """Costs of an instruction, each with how often it is paid."""
        estimate = re.search(r'estimated_cycles":"(\d+)"', one.line)
        cycles = int(estimate.group(1)) if estimate else 0
        scope, moved = self._scope(one), self._moved(one)
        if not estimate and self._is_kernel(one):
            self.unknown.add(f"{one.opcode} {one.name}")
            moved[f"silent {scope}"] += 2 * self._written(one)
        yield 1, (cycles, Counter({scope: cycles}), moved, Counter({f"{_label(one)} {one.type}": cycles}))
        if one.opcode == "while":
            trips = self._trips(one)
            if trips is None:
                self.unknown.add(f"trips of {one.name}")
            yield trips or 1, self.cost(one.called("body")[0])
        elif one.opcode == "conditional":
            branches = one.called("branch_computations", "true_computation", "false_computation")
            yield 1, max((self.cost(branch) for branch in branches), key=lambda cost: cost[0])
        elif one.opcode in ("call", "async-start"):
            for called in one.called("to_apply", "calls"):
                yield 1, self.cost(called)

    def _beside(self, schedule: Sequence[Instruction]) -> int:
        """Bytes of the collectives that travel while a kernel runs: a program's text is in the order of its schedule."""
        started, kernels, total = {}, 0, 0
        for one in schedule:
            if one.opcode.endswith("-start"):
                started[one.name] = kernels, self._collective(one)
            elif one.opcode.endswith("-done"):
                begun = re.search(r"-done\(.*?%?([\w.\-]+)\)", one.line)
                before, moves = started.get(begun.group(1) if begun else "", (kernels, False))
                total += one.nbytes if moves and kernels > before else 0
            elif one.opcode == "fusion":
                total += self._moved(one)["bytes"]
            kernels += "estimated_cycles" in one.line
        return total

    def _collective(self, one: Instruction) -> bool:
        inner = [x.opcode for name in one.called("calls") for x in self.computations.get(name, ())]
        return any(kind.removesuffix("-start") in COLLECTIVES for kind in (one.opcode, *inner))

    def _is_kernel(self, one: Instruction) -> bool:
        """Tell whether an instruction takes time of its own: scalars and addresses do not."""
        if one.opcode == "custom-call":
            return not any(f'custom_call_target="{target}"' in one.line for target in ADDRESSES)
        ends = one.name.startswith("async-collective-")  # of a collective that kernels run beside
        return not ends and one.opcode not in FREE and one.nbytes > 8

    def _written(self, one: Instruction) -> int:
        if one.opcode != "dynamic-update-slice":  # which writes in place, and its update alone
            return one.nbytes
        update = re.findall(r"%([\w.\-]+)", one.line.split("dynamic-update-slice(", 1)[1])[1]
        return self.sizes.get(update, one.nbytes)

    def _moved(self, one: Instruction) -> Counter:
        """Count collectives and bytes; a kernel into which the compiler put a collective counts as well."""
        moved = Counter()
        kind = one.opcode.removesuffix("-done")
        if kind in COLLECTIVES:
            moved.update({kind: 1, "bytes": one.nbytes})
        elif one.opcode in ("copy-done", "slice-done", "dynamic-slice-done"):
            moved["copied"] = one.nbytes
        elif one.opcode == "fusion":
            for called in one.called("calls"):
                for inner in self.computations.get(called, ()):
                    moved.update(self._moved(inner))
        return moved

    def _scope(self, one: Instruction) -> str:
        """Find the scope of a kernel by its own name, else by the names within it."""
        names = re.findall(r'op_name="([^"]*)"', one.line)
        for called in () if names else one.called("calls"):
            names += [
                n for inner in self.computations.get(called, ()) for n in re.findall(r'op_name="([^"]*)"', inner.line)
            ]
        parts = [re.split(r"[/()]", name) for name in names]
        return next((scope for scope in self.scopes if any(scope in part for part in parts)), "")

    def _trips(self, loop: Instruction) -> int | None:
        """Read how often a loop runs: as the compiler says, or from a counter from 0 below a constant."""
        said = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.line)
        if said:
            return int(said.group(1))
        condition = list(self.computations.get(loop.called("condition")[0], ()))
        condition += [x for one in condition for c in one.called("calls") for x in self.computations.get(c, ())]
        limits = [m for one in condition for m in re.findall(r"s32\[\]\S* constant\((\d+)\)", one.line)]
        compared = [one for one in condition if one.opcode == "compare"]
        if len(limits) != 1 or len(compared) != 1 or "direction=LT" not in compared[0].line:
            return None
        return int(limits[0])


def _instruction(line: str) -> Instruction | None:
    """Take one line apart; a result's type may be a tuple of types."""
    head = re.match(r"^\s+(?:ROOT )?%?([\w.\-]+) = ", line)
    if not head:
        return None
    rest, depth = line[head.end() :], 0
    for end, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if letter == " " and depth == 0:
            opcode = re.match(r"[\w\-]*", rest[end + 1 :])
            return Instruction(head.group(1), rest[:end], opcode.group(0) if opcode else "", line)
    return None


def _label(one: Instruction) -> str:
    """Name what a kernel does: the end of its path in the traced program, or its own name without a number."""
    name = re.search(r'op_name="([^"]*)"', one.line)
    return "/".join(name.group(1).split("/")[-2:]) if name else one.name.split(".")[0]


def _itemsize(dtype: str) -> float:
    """Bytes of an element, from the name that HLO gives its type."""
    bits = re.search(r"\d+", dtype)
    return BYTES.get(dtype) or (int(bits.group(0)) / 8 if bits else 0)
