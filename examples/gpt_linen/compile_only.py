"""Compile the training step for a pod that is not there, and report what the compiler says of one of its chips.

The programs are real: libtpu compiles for any TPU without one (``pip install 'jax[tpu]'``). Nothing runs.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import time
from typing import Any

# How libtpu is told not to look for a TPU; read when it is first loaded.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")

import jax
import jax.numpy as jnp
from gpt import presets
from gpt.errors import OptionError
from gpt.layers import GPTConfig
from gpt.source import text_of
from gpt_linen.mesh import mesh_of
from gpt_linen.training import Training
from jax.experimental import topologies
from jaxtyping import PyTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.benchmarks import cycles

MEMORY = {"v5e": 16e9, "v5p": 95e9, "v6e": 32e9}  # bytes of a chip, by its data sheet
BANDWIDTH = {"v5e": 819e9, "v5p": 2765e9, "v6e": 1640e9}  # bytes per second of its memory, by the same
SCOPE = "optimizer"  # as `Training` names it


@dataclasses.dataclass(frozen=True)
class Report:
    """What one chip does in a step.

    Attributes:
        pod: name of the topology.
        chips: number of them.
        compile_seconds: to compile the step.
        memory: bytes of arguments, results and temporaries.
        model: cycles of forward and backward pass, collectives not counted.
        optimizer: cycles of the optimizer, collectives not counted.
        silent: bytes of kernels without an estimate, model's and optimizer's; the cycles count them at the rate of the
            chip's memory.
        collectives: kind -> how many.
        nbytes: bytes of their results.
        beside_kernels: bytes of those that kernels run beside.
        tokens: of a step, over all chips.
        flops: of the model for a token.
        unknown: loops of unknown trips, which make every count a lower bound.
    """

    pod: str
    chips: int
    compile_seconds: float
    memory: int
    model: float
    optimizer: float
    silent: int
    collectives: dict[str, int]
    nbytes: int
    beside_kernels: int
    tokens: int
    flops: float
    unknown: tuple[str, ...]

    @property
    def share(self) -> float:
        """The optimizer's share of the cycles."""
        return self.optimizer / (self.model + self.optimizer)

    @property
    def utilisation(self) -> float:
        """Model FLOPs over what the chips could do in these cycles: what a run cannot pass."""
        kind = self.pod.split(":")[0]
        seconds = (self.model + self.optimizer) / cycles.CLOCK[kind]
        return self.tokens * self.flops / self.chips / (seconds * presets.PEAK[f"TPU {kind}"])

    def __str__(self) -> str:
        kind = self.pod.split(":")[0]
        limit, clock = MEMORY[kind], cycles.CLOCK[kind]
        lines = [f"{self.pod}, {self.chips} chips, compiled in {self.compile_seconds:.0f} s; each chip:"]
        fits = f" of {limit / 1e9:.0f} GB" + ("" if self.memory < limit else ", DOES NOT FIT")
        lines.append(f"  memory       {self.memory / 1e9:.2f} GB{fits}")
        for name, count in (("model", self.model), ("optimizer", self.optimizer)):
            lines.append(f"  {name:12} {count / 1e6:,.2f} Mcycles, {1e3 * count / clock:,.2f} ms")
        lines[-1] += f", {self.share:.2%} of the step"
        lines.append(f"  utilisation  {self.utilisation:.1%} of the bfloat16 rate by model FLOPs, at most")
        lines.append(f"  no estimate  {self.silent / 1e6:,.1f} MB of kernels, counted at the memory's rate")
        lines += [f"  too few      {name}: the counts are lower bounds" for name in self.unknown]
        counts = ", ".join(f"{n} {kind}" for kind, n in sorted(self.collectives.items())) or "none"
        beside = self.beside_kernels / self.nbytes if self.nbytes else 0
        lines.append(f"  collectives  {counts}; {self.nbytes / 1e6:,.1f} MB, {beside:.0%} of them beside kernels")
        return "\n".join(lines)


def devices_of(pod: str) -> list[Any]:
    """Give the chips of a pod that is not there.

    Raises:
        OptionError: if libtpu is missing or knows no such pod.
    """
    if pod.split(":")[0] not in MEMORY:
        raise OptionError(f"argument --compile-only: {pod}: a pod is named like v5e:8x8; known are {', '.join(MEMORY)}")
    try:
        return list(topologies.get_topology_desc(pod, "tpu").devices)
    except Exception as error:  # libtpu's errors have no class of their own
        first = str(error).strip().splitlines()[0][:120]
        cure = "python -m pip install 'jax[tpu]' brings the compiler"
        raise OptionError(f"argument --compile-only: {pod}: {first}; {cure}") from None


def report(training: Training, pod: str, batch: int) -> Report:
    """Compile the step for the mesh of ``training``, whose chips are those of ``pod``."""
    mesh, config = training.by_batch.mesh, training.model.config

    def laid(shapes: PyTree, shardings: PyTree) -> PyTree:
        return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)

    state = laid(jax.eval_shape(training.tx.init, training.shapes), training.state_shardings)
    tokens = jax.ShapeDtypeStruct((batch, config.context + 1), jnp.int32, sharding=training.by_batch)
    lowered = training.step.lower(laid(training.shapes, training.shardings), state, tokens)
    began = time.perf_counter()
    compiled = lowered.compile()
    seconds, memory = time.perf_counter() - began, compiled.memory_analysis()
    cost = cycles.read(compiled.as_text() or "", [SCOPE])
    per_cycle = BANDWIDTH[pod.split(":")[0]] / cycles.CLOCK[pod.split(":")[0]]
    model, optimizer = (cost.scopes[scope] + cost.silent[scope] / per_cycle for scope in ("", SCOPE))
    return Report(
        pod=pod,
        chips=mesh.size,
        compile_seconds=seconds,
        memory=_bytes(memory),
        model=model,
        optimizer=optimizer,
        silent=sum(cost.silent.values()),
        collectives=cost.collectives,
        nbytes=cost.nbytes,
        beside_kernels=cost.beside,
        tokens=batch * config.context,
        flops=presets.flops_per_token(config),
        unknown=tuple(name for name in cost.unknown if name.startswith("trips")),
    )


def _bytes(memory: Any) -> int:
    whole = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return whole + memory.temp_size_in_bytes


def main(args: argparse.Namespace) -> None:
    """Print the report of what the options ask for."""
    from gpt_linen.train import training_of

    jax.config.update("jax_platforms", "cpu")
    try:
        mesh = mesh_of(devices_of(args.compile_only), args.tensor)
        known = args.preset == "tiny" or args.data is not None
        vocabulary = text_of(args).vocabulary if known else presets.GPT2_VOCABULARY
        config = GPTConfig(vocabulary, args.context, args.layers, args.width, args.heads)
        print(report(training_of(args, config, mesh), args.compile_only, args.batch))
    except OptionError as error:
        raise SystemExit(f"{pathlib.Path(sys.argv[0]).name}: {error}") from None
