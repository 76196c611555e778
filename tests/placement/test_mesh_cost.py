"""What the work of a mesh costs: collectives, bytes and FLOPs of compiled programs, beside their bounds."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.linalg._flops import count_flops, plain_flops
from optax_muon.placement._over_mesh import OverMesh
from optax_muon.transforms import apply_to_matrices
from tests.benchmarks.census import census
from tests.placement.test_over_mesh import Hidden, mesh_of

WIDTH = 64
GPT = {
    f"{i}/{name}": shape
    for i in range(4)
    for name, shape in {
        "qkv": (WIDTH, 3 * WIDTH), "proj": (WIDTH, WIDTH), "up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH),
    }.items()
}  # fmt: skip
BOUND = 2 * sum(m * n for m, n in GPT.values()) * 4 / 8
PLAIN = sum(plain_flops(*shape) for shape in GPT.values()) / 8


def compiled(mesh, spec, placement=None, op=None):
    """Census of one update of the GPT's matrices, all lying as ``spec`` (or as spec(name)) says."""
    op = op or om.linalg.NewtonSchulz(om.linalg.JORDAN_2024)
    tx = apply_to_matrices(op, leaves=dict.fromkeys(GPT, Hidden(0, 1)), placement=placement)
    args = {
        name: jax.ShapeDtypeStruct(
            shape, jnp.float32, sharding=NamedSharding(mesh, spec(name) if callable(spec) else spec)
        )
        for name, shape in GPT.items()
    }
    program = jax.jit(lambda x: tx.update(x, tx.init(x))[0]).lower(args).compile()
    found = census(program)
    assert found.flops == pytest.approx(count_flops(lambda x: tx.update(x, tx.init(x))[0], args), rel=1e-6)
    return found


def megatron(name):
    return P("fsdp", "tp") if name.split("/")[1] in ("qkv", "up") else P("tp", "fsdp")


@pytest.mark.parametrize(
    "spec", [P("fsdp", "tp"), P(("fsdp", "tp"), None), megatron], ids=["both", "together", "megatron"]
)
def test_known_shardings_take_one_all_to_all_each_way(spec):
    found = compiled(mesh_of(AxisType.Explicit), spec)
    # Sixteen matrices on eight devices: eight of 4d, then four of 3d and four of d that share a run.
    assert found.collectives == {"all-to-all": (2, BOUND * 14 / 12)}
    assert found.flops == pytest.approx(PLAIN * (45 + 35) / 70, rel=1e-6)


def test_an_auto_mesh_without_specs_takes_one_all_to_all_per_axis_and_shape(capfd):
    one = compiled(mesh_of(AxisType.Auto, (8,), ("fsdp",)), P("fsdp", None))
    assert one.collectives == {"all-to-all": (8, BOUND * 2)}  # four of each shape on eight devices
    two = compiled(mesh_of(AxisType.Auto), megatron)
    assert two.collectives == {"all-to-all": (16, BOUND * 4)}
    # Four and four matrices of 4d share the eight slots, and so do those of 3d and of d.
    assert one.flops == two.flops == pytest.approx(PLAIN * (45 + 35) / 70, rel=1e-6)
    assert "rematerialization" not in capfd.readouterr().err


def test_replicated_matrices_are_divided_and_gathered_once():
    mesh = mesh_of(AxisType.Explicit)
    found = compiled(mesh, P(), OverMesh(flops_per_byte=1.0, teams=False))
    assert found.kinds == {"all-gather"}
    number, nbytes = found.collectives["all-gather"]
    assert number == 1
    assert nbytes <= 1.17 * 4 * BOUND
    assert found.flops <= 1.15 * PLAIN
    # Where the network is too slow for that, everyone computes everything.
    alone = compiled(mesh, P(), OverMesh(flops_per_byte=1e9))
    assert alone.collectives == {}
    assert alone.flops == pytest.approx(8 * PLAIN)


def test_replicas_share_the_work_without_further_collectives():
    found = compiled(mesh_of(AxisType.Explicit), P(None, "fsdp"))
    assert found.kinds == {"all-to-all"}
    assert found.flops == pytest.approx(PLAIN * (45 + 35) / 70, rel=1e-6)
    only = compiled(mesh_of(AxisType.Explicit), P(None, "fsdp"), OverMesh(axes=("fsdp",)))
    assert only.collectives == {"all-to-all": (2, 2 * BOUND)}
    assert only.flops == pytest.approx(2 * PLAIN)


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_a_leaf_split_over_batch_axes_does_not_travel(kind):
    mesh, leaf = mesh_of(kind), Hidden(1, 2)
    tx = apply_to_matrices(om.linalg.NewtonSchulz(), leaves={"w": leaf})
    arg = {"w": jax.ShapeDtypeStruct((16, 8, 12), jnp.float32, sharding=NamedSharding(mesh, P(("fsdp", "tp"))))}
    assert census(jax.jit(lambda x: tx.update(x, tx.init(x))[0]).lower(arg).compile()).collectives == {}


def test_rounds_hold_at_most_max_bytes():
    found = compiled(mesh_of(AxisType.Explicit), P("fsdp", "tp"), OverMesh(max_bytes=2 * WIDTH * 4 * WIDTH * 4))
    assert found.collectives["all-to-all"] == (4, BOUND * 14 / 12)


def test_slow_axes_carry_no_matrices():
    mesh = mesh_of(AxisType.Explicit)
    with pytest.raises(ValueError, match="0/.*: the slow axis 'tp' cuts"):
        compiled(mesh, P("fsdp", "tp"), OverMesh(slow_axes=("tp",)))
    found = compiled(mesh, P("fsdp", None), OverMesh(slow_axes=("tp",)))
    assert found.collectives == {"all-to-all": (2, 2 * BOUND)}
