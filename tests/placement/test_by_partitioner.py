"""An Auto mesh without specs, where the partitioner is asked: what is exchanged, and the result of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.placement._local import Local
from optax_muon.placement._over_mesh import OverMesh
from optax_muon.transforms import Lift, apply_to_matrices
from tests.benchmarks.census import census
from tests.placement.test_mesh_cost import BOUND, GPT, megatron
from tests.placement.test_over_mesh import LEAVES, Hidden, close, grads, mesh_of, placed

OP = om.linalg.NewtonSchulz(om.linalg.JORDAN_2024.first(2))
ASKED = OverMesh(flops_per_byte=1.0, teams=False, ask_partitioner=True)


def collectives(mesh, spec):
    tx = apply_to_matrices(OP, leaves=dict.fromkeys(GPT, Hidden(0, 1)), placement=ASKED)
    args = {
        name: jax.ShapeDtypeStruct(
            shape, jnp.float32, sharding=NamedSharding(mesh, spec(name) if callable(spec) else spec)
        )
        for name, shape in GPT.items()
    }
    return census(jax.jit(lambda x: tx.update(x, tx.init(x))[0]).lower(args).compile()).collectives


def test_replicated_matrices_are_gathered_once():
    found = collectives(mesh_of(AxisType.Auto, (8,), ("data",)), P())
    assert set(found) == {"all-gather"}
    number, nbytes = found["all-gather"]
    assert number == 1
    # Of sixteen matrices on eight devices, as where shardings are known; P is four times the bound of sharded ones.
    assert nbytes <= 1.17 * 4 * BOUND


def test_sharded_matrices_take_one_all_to_all_each_way():
    assert collectives(mesh_of(AxisType.Auto), megatron) == {"all-to-all": (2, BOUND * 14 / 12)}


@pytest.mark.slow
def test_every_kind_of_leaf_comes_out_as_on_one_device():
    mesh = mesh_of(AxisType.Auto)
    expected = Lift(OP, LEAVES, Local()).apply(grads(), None)[0]
    given, lift = placed(grads(), mesh), Lift(OP, LEAVES, ASKED)
    got = jax.jit(lambda x: lift.apply(x, None)[0])(given)
    close(got, expected)
    for name, x in got.items():
        assert x.sharding.is_equivalent_to(given[name].sharding, x.ndim), name


def test_learned_coefficients_derivatives_and_vmap():
    """What is written while a program is compiled has no derivative; the one that computes the same gives it."""
    mesh, leaves = mesh_of(AxisType.Auto, (2,), ("data",)), {"a": Hidden(0, 1), "b": Hidden(0, 1)}
    rng = np.random.default_rng(0)
    x = {name: jnp.asarray(rng.normal(size=(3, 4, 6)), jnp.float32) for name in leaves}

    def loss(placement, rows, x):
        y = Lift(om.linalg.NewtonSchulz(rows), leaves, placement).apply(x, None)[0]
        return sum((v**3).sum() for v in y.values())

    def both(placement):
        one = jax.value_and_grad(lambda rows, x: loss(placement, rows, x), argnums=(0, 1))
        return lambda rows, x: (
            one(rows, jax.tree.map(lambda v: v[0], x)),
            jax.vmap(loss, (None, None, 0))(placement, rows, x),
        )

    rows = jnp.asarray(om.linalg.YOU_2025.rows[:2])
    expected = jax.jit(both(Local()))(rows, x)
    whole = NamedSharding(mesh, P())
    got = jax.jit(both(ASKED))(*jax.device_put((rows, x), whole))
    close(got, expected, atol=1e-4)


def test_a_tpu_is_not_asked():
    mesh, leaves = mesh_of(AxisType.Auto, (2,), ("data",)), {"a": Hidden(0, 1)}
    x = {"a": jax.ShapeDtypeStruct((8, 8), jnp.float32, sharding=NamedSharding(mesh, P()))}
    traced = jax.jit(lambda x: Lift(OP, leaves, ASKED).apply(x, None)[0]).trace(x)
    for platform in ("cpu", "cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("CustomSPMDPartitioning" in text) == (platform != "tpu")


def test_constraints_remain_for_slow_axes(monkeypatch):
    def never(*args):
        raise AssertionError("asked")

    monkeypatch.setattr("optax_muon.placement._over_mesh.run_by_partitioner", never)
    leaves, x = {"a": Hidden(0, 1)}, {"a": jax.ShapeDtypeStruct((8, 8), jnp.float32)}
    mesh = mesh_of(AxisType.Auto)
    slow = OverMesh(slow_axes=("tp",), ask_partitioner=True, mesh=mesh)
    jax.eval_shape(lambda x: Lift(OP, leaves, slow).apply(x, None)[0], x)
    with pytest.raises(AssertionError, match="asked"):
        jax.eval_shape(lambda x: Lift(OP, leaves, OverMesh(ask_partitioner=True, mesh=mesh)).apply(x, None)[0], x)
