"""Matrices that travel in an accelerator's tiles: which do, that they arrive whole, and in which dtype."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.placement import _by_form
from optax_muon.placement._local import Local
from optax_muon.placement.exchange import _native_tiles
from optax_muon.placement.exchange._native_tiles import assemble_slabs, disassemble_slabs, from_slabs, to_slabs
from optax_muon.placement.exchange._tiles import Block
from optax_muon.transforms import Lift
from tests.placement.test_over_mesh import Hidden, close, mesh_of

pytestmark = pytest.mark.thinned(2)

OP = om.linalg.NewtonSchulz(om.linalg.JORDAN_2024.first(1))
# Two share a run and one has two repetitions.
SHAPES = {"wide": (64, 1024), "tall": (1024, 512), "stack": (16, 64, 1024)}


@pytest.fixture
def accelerated(monkeypatch):
    """Programs for a CPU take the way of the others, so that it can be run."""
    monkeypatch.setattr(_by_form, "run_by_platform", lambda works, cpu, default: default(works))


LEAVES = {name: Hidden(len(shape) - 2, len(shape) - 1) for name, shape in SHAPES.items()}


def matrices():
    rng = np.random.default_rng(0)
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()}


def alone(op=OP):
    """The update of one device."""
    return Lift(op, LEAVES, Local()).apply(matrices(), None)[0]


def update(spec, op=OP, platform="cpu", **options):
    """One update's lowered program on a mesh of four by two, and what it is given."""
    mesh, grads = mesh_of(AxisType.Explicit), matrices()
    lift = Lift(op, LEAVES, om.OverMesh(teams=False, flops_per_byte=1.0, **options))
    given = {
        name: jax.device_put(x, NamedSharding(mesh, P(*[None] * (x.ndim - 2), *spec))) for name, x in grads.items()
    }
    lowered = jax.jit(lambda x: lift.apply(x, None)[0]).trace(given).lower(lowering_platforms=(platform,))
    return lowered, given


def sent(lowered):
    """Shapes and dtypes of what the all-to-alls of a lowered program send."""
    return re.findall(r'"?stablehlo\.all_to_all"?.*?: \(tensor<([\w]+)>\)', lowered.as_text().replace("\n", " "))


@pytest.mark.parametrize(
    "spec",
    [P("fsdp", "tp"), *(pytest.param(s, marks=pytest.mark.slow) for s in (P("tp", "fsdp"), P(("tp", "fsdp"), None)))],
)
@pytest.mark.parametrize(("least", "collectives"), [(0, 4), (5 << 19, 2)])
def test_matrices_arrive_whole(spec, least, collectives, monkeypatch, accelerated):
    """Each run on its own, or all in slabs of one width."""
    monkeypatch.setattr(_native_tiles, "MIN_BYTES", least)
    lowered, given = update(spec)
    assert [shape.count("x") for shape in sent(lowered)] == [3] * collectives, sent(lowered)
    close(lowered.compile()(given), alone())


def test_few_bytes_travel_flat(monkeypatch, accelerated):
    monkeypatch.setattr(_native_tiles, "MIN_BYTES", 1 << 30)
    lowered, _ = update(P("fsdp", "tp"))
    assert [shape.count("x") for shape in sent(lowered)] == [2, 2]


def test_a_cpu_knows_no_tiles():
    lowered, _ = update(P("fsdp", "tp"))
    assert [shape.count("x") for shape in sent(lowered)] == [2, 2]


@pytest.mark.parametrize(("asked", "travels"), [(None, "bf16"), (jnp.float32, "f32"), (jnp.float16, "f16")])
def test_bfloat16_arithmetic_travels_in_bfloat16(asked, travels):
    op = om.linalg.NewtonSchulz(om.linalg.JORDAN_2024, arithmetic=om.linalg.BFLOAT16)
    lowered, _ = update(P("fsdp", "tp"), op, exchange_dtype=asked)
    assert {shape.split("x")[-1] for shape in sent(lowered)} == {travels}
    lowered, _ = update(P("fsdp", "tp"))
    assert {shape.split("x")[-1] for shape in sent(lowered)} == {"f32"}


@pytest.mark.parametrize(("asked", "travels"), [(None, "bf16"), (jnp.float32, "f32")])
def test_the_platform_s_arithmetic_travels_as_it_computes(asked, travels):
    for platform, dtype in (("cpu", "f32"), ("tpu", travels), ("cuda", travels)):
        lowered, _ = update(P("fsdp", "tp"), om.linalg.best(), platform, exchange_dtype=asked)
        assert {shape.split("x")[-1] for shape in sent(lowered)} == {dtype}, platform


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_an_auto_mesh_moves_what_the_platform_computes(platform):
    """Without specs constraints move the stacks, between the two of its ends in the dtype that is read."""
    mesh = mesh_of(AxisType.Auto, (8,), ("fsdp",))
    given = jax.ShapeDtypeStruct((8, 16, 64), jnp.float32, sharding=NamedSharding(mesh, P(None, "fsdp")))
    lift = Lift(om.linalg.best(), {"w": Hidden(1, 2)})
    with jax.set_mesh(mesh):
        lowered = jax.jit(lambda x: lift.apply({"w": x}, None)[0]).trace(given).lower(lowering_platforms=(platform,))
    moved = re.findall(r"sdy.sharding_constraint .*tensor<8x16x64x(\w+)>", lowered.as_text())
    assert set(moved) == {"bf16" if platform == "tpu" else "f32"}, lowered.as_text()


def test_what_bfloat16_costs():
    """Rounding on the way is one of many roundings: it adds no more to the error than the iteration itself makes."""
    full, half = (
        om.linalg.NewtonSchulz(om.linalg.JORDAN_2024, arithmetic=x) for x in (om.linalg.FLOAT32, om.linalg.BFLOAT16)
    )
    lowered, given = update(P("fsdp", "tp"), half)
    got, local, exact = lowered.compile()(given), alone(half), alone(full)
    for name, x in exact.items():
        assert np.linalg.norm(got[name] - x) <= 2 * np.linalg.norm(local[name] - x), name


def test_slabs_of_one_tile():
    x = np.arange(2 * 8 * 384.0, dtype=np.float32).reshape(2, 8, 384)
    slabs = to_slabs(jnp.asarray(x), 128)
    np.testing.assert_array_equal(slabs, np.concatenate([x[..., :128], x[..., 128:256], x[..., 256:]], axis=1))
    np.testing.assert_array_equal(from_slabs(jnp.pad(slabs, ((0, 0), (0, 8), (0, 0))), 8, 384), x)


def test_every_device_gets_its_tile():
    block = Block(rows=((("a",), 8),), cols=((("b",), 256),))
    grid, x = {"b": 2, "a": 3}, np.arange(24 * 512.0, dtype=np.float32).reshape(1, 24, 512)
    slabs = disassemble_slabs(jnp.asarray(x), block, grid, 128)
    assert slabs.shape == (1, 6, 16, 128)
    np.testing.assert_array_equal(slabs[0, 1 * 3 + 2, 8:], x[0, 16:24, 384:])  # b = 1, a = 2; the tile's second slab
    np.testing.assert_array_equal(assemble_slabs(slabs, block, grid), x)
