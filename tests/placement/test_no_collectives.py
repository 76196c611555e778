"""Nothing travels over slow axes, and nothing at all inside an iteration."""

import contextlib
import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from tests.benchmarks.census import KINDS, computations
from tests.placement.test_over_mesh import mesh_of

SHAPES = {"up": (16, 64), "down": (64, 16), "proj": (16, 16), "gate": (16, 64), "experts": (4, 16, 32)}
LEAVES = {name: om.Leaf("hidden", len(shape) - 2, len(shape) - 1) for name, shape in SHAPES.items()}
GUARDED = hasattr(jax.sharding, "no_collectives")
RANGE = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"
COLLECTIVE = re.compile(rf" = .*? ({'|'.join(KINDS)})(-start)?\(")


def forbidden(*axes: str) -> Any:
    """Raise while tracing where code of an Explicit mesh talks over these axes, if JAX can."""
    return jax.sharding.no_collectives(frozenset(axes)) if GUARDED else contextlib.nullcontext()


@dataclasses.dataclass(frozen=True)
class Alone(om.linalg.SpectralMap):
    """An iteration that may not talk to anybody."""

    inner: om.linalg.SpectralMap = om.linalg.NewtonSchulz()
    breaks_the_rule: bool = False

    def apply(self, x):
        with forbidden("fsdp", "tp"):
            y = self.inner.apply(x)
            if self.breaks_the_rule:
                with contextlib.suppress(NameError):  # the planner counts FLOPs where no axis is bound
                    y = jax.lax.psum(y, "fsdp")
            return y

    def scalar(self, s):
        return self.inner.scalar(s)


def lowered(kind, spec, op, **options):
    """One update of `muon` on a mesh of four by two."""
    mesh = mesh_of(kind)
    tx = om.muon(0.02, orthogonalizer=op, leaves=LEAVES, placement=om.OverMesh(flops_per_byte=0.0, **options))
    args = {
        name: jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))
        for name, shape in SHAPES.items()
    }
    with jax.set_mesh(mesh):
        return jax.jit(lambda x: tx.update(x, tx.init(x), x)[0]).lower(args)


def groups(line: str) -> np.ndarray:
    """Devices that talk to one another in one collective of a compiled program, a row for every group.

    XLA writes them in three ways: as lists, as a transposed range, and by the names of mesh axes.
    """
    listed = re.search(r"replica_groups=\{(\{.*?\})\}", line)
    if listed:
        return np.array([[int(i) for i in group.split(",")] for group in re.findall(r"\{([\d,]+)\}", listed[1])])
    named = re.search(rf"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\({RANGE}\))? \{{('[\w',]+)\}}", line)
    if named:
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", named[1])}
        axes = [list(sizes).index(name) for name in re.findall(r"'(\w+)'", named[4])]
        devices = _range(named[2], named[3]) if named[2] else np.arange(np.prod(list(sizes.values())))
        devices = devices.reshape(list(sizes.values()))
        last = np.moveaxis(devices, axes, range(-len(axes), 0))
        return last.reshape(-1, np.prod([devices.shape[axis] for axis in axes]))
    ranged = re.search(rf"replica_groups=\[([\d,]+)\]<={RANGE}", line)
    return _range(ranged[2], ranged[3]).reshape(_numbers(ranged[1]))


def _numbers(text: str) -> list[int]:
    return [int(i) for i in text.split(",")]


def _range(counts: str, order: str | None) -> np.ndarray:
    """Numbers from 0 in an array of these lengths, whose axes are then put in this order."""
    numbers = np.arange(np.prod(_numbers(counts))).reshape(_numbers(counts))
    return numbers.transpose(_numbers(order) if order else None)


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_nothing_travels_over_slow_axes(kind):
    def talk_over_tp(program):
        lines = [line for line in program.compile().as_text().splitlines() if COLLECTIVE.search(line)]
        assert lines, "matrices that are sharded over fsdp must travel"
        return any(len(set(group % 2)) > 1 for line in lines for group in groups(line))  # device 2 i + j: j of tp

    op = om.linalg.NewtonSchulz()
    with forbidden("tp"):
        slow = lowered(kind, P(None, "fsdp"), op, slow_axes=("tp",))
    assert not talk_over_tp(slow)
    assert talk_over_tp(lowered(kind, P(None, "fsdp"), op)), "without the option the replicas would share the work"


@pytest.mark.skipif(not GUARDED, reason="this JAX has no such guard")
def test_a_forbidden_exchange_is_caught():
    """Without the option the plan uses ``tp``, and the guard of the test above says so."""
    with forbidden("tp"), pytest.raises(Exception, match="'tp' is forbidden"):
        lowered(AxisType.Explicit, P(None, "fsdp"), om.linalg.NewtonSchulz())


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_nothing_travels_inside_an_iteration(kind):
    for op in (Alone(), Alone(om.linalg.best())):
        found, entry = computations(lowered(kind, P("fsdp", "tp"), op).compile().as_text())
        talking = {name for name, lines in found.items() for line in lines if COLLECTIVE.search(line)}
        assert talking == {entry}


@pytest.mark.skipif(not GUARDED, reason="this JAX has no such guard")
@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_a_talking_iteration_is_caught(kind):
    with pytest.raises(Exception, match="'fsdp' is forbidden"):
        lowered(kind, P("fsdp", "tp"), Alone(breaks_the_rule=True))
