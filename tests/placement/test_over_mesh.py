"""A mesh: the same result as on one device, and errors that name the cure."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.linalg import Info, MatrixOp
from optax_muon.linalg._flops import count_flops, plain_flops
from optax_muon.placement._local import Local
from optax_muon.placement._over_mesh import OverMesh
from optax_muon.transforms import Lift, apply_to_matrices
from tests.benchmarks.census import census

Hidden = functools.partial(om.Leaf, "hidden")
# One of every kind of leaf, with a spec for a mesh of fsdp=4, tp=2.
ZOO = {
    "row_cut": ((8, 12), Hidden(0, 1), P("fsdp", None)),
    "tall": ((24, 8), Hidden(0, 1), P("fsdp", None)),
    "both": ((8, 24), Hidden(0, 1), P("tp", "fsdp")),
    "joint": ((8, 16), Hidden(0, 1), P(None, ("tp", "fsdp"))),
    "whole": ((8, 12), Hidden(0, 1), P()),
    "heads": ((2, 4, 16), Hidden((0, 1), 2), P("tp", "fsdp", None)),
    "experts": ((4, 8, 12), Hidden(1, 2), P("fsdp", None, None)),
    "experts_cut": ((2, 3, 12, 8), Hidden(2, 3), P("tp", None, "fsdp", None)),
    "fused": ((8, 24), Hidden(0, 1, split=(8, 8, 8)), P("fsdp", None)),
    "fused_cut": ((8, 24), Hidden(0, 1, split=(8, 8, 8)), P(None, "fsdp")),
    "uneven_cut": ((8, 16), Hidden(0, 1, split=(8, 4, 4)), P("fsdp", "tp")),
    "empty": ((0, 8), Hidden(0, 1), P()),
}
LEAVES = {name: leaf for name, (_, leaf, _) in ZOO.items()}


@dataclasses.dataclass(frozen=True)
class Noisy(MatrixOp):
    """Needs a key, remembers one matrix and one number per matrix, takes a second matrix, returns a dual."""

    needs_key = True

    def init(self, shape, dtype):
        return {"calls": jnp.zeros(shape[:-2], jnp.int32), "last": jnp.zeros(shape, dtype)}

    def apply(self, x, carry, *, key=None, other=None, **_):
        y = 2 * x + 0.5 * carry["last"] + jax.random.normal(key, x.shape) + (0 if other is None else other)
        return y, {"calls": carry["calls"] + 1, "last": x}, Info(dual=jnp.sum(x * y))


def grads(seed=0):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, (shape, _, _) in ZOO.items()}


def mesh_of(kind, shape=(4, 2), names=("fsdp", "tp")):
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(names))


def placed(tree, mesh, specs=None):
    return {
        name: jax.device_put(x, NamedSharding(mesh, (specs[name] if specs else ZOO[name][2])))
        for name, x in tree.items()
    }


def close(a, b, atol=2e-6):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=1e-5), jax.device_get(a), jax.device_get(b)
    )


@pytest.mark.parametrize(("kind", "axes"), [(AxisType.Explicit, None), (AxisType.Auto, ("fsdp", "tp"))], ids=str)
def test_every_kind_of_leaf_comes_out_as_on_one_device(kind, axes):
    op, mesh = om.linalg.NewtonSchulz(om.linalg.JORDAN_2024), mesh_of(kind)
    expected = Lift(op, LEAVES, Local()).apply(grads(), None)[0]
    specs = None if kind == AxisType.Explicit else {name: spec for name, (_, _, spec) in ZOO.items()}
    lift = Lift(op, LEAVES, OverMesh(axes, specs=specs, flops_per_byte=1.0))
    given = placed(grads(), mesh)
    got = jax.jit(lambda x: lift.apply(x, None)[0])(given)
    close(got, expected)
    for name, x in got.items():
        assert x.sharding.is_equivalent_to(given[name].sharding, x.ndim), name


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (AxisType.Explicit, ("both", "whole", "experts_cut", "fused", "uneven_cut")),
        (AxisType.Auto, ("experts", "fused_cut")),
    ],
    ids=str,
)
def test_memory_keys_duals_and_second_matrices_travel_too(kind, names):
    mesh = mesh_of(kind)
    whole = [{name: grads(seed)[name] for name in names} for seed in (0, 1)]
    given, second = (placed(x, mesh) for x in whole)
    alone, over = Lift(Noisy(), LEAVES, Local()), Lift(Noisy(), LEAVES, OverMesh(flops_per_byte=0.0))

    def two_steps(lift, x, other):
        state = lift.init(whole[0])
        _, state, _ = lift.apply(x, state, other=other)
        y, state, done = lift.apply(x, state, other=other)
        return y, state, {path: [info.dual for info in entry.infos] for path, entry in done.items()}

    expected = jax.jit(functools.partial(two_steps, alone))(*whole)
    specs = {name: spec for name, (_, _, spec) in ZOO.items()}
    over = over if kind == AxisType.Explicit else dataclasses.replace(over, placement=OverMesh(specs=specs))
    got = jax.jit(functools.partial(two_steps, over))(given, second)
    close(got, expected, atol=2e-5)


def test_an_auto_mesh_without_specs():
    mesh = mesh_of(AxisType.Auto)
    for op in (om.linalg.NewtonSchulz(om.linalg.JORDAN_2024), Noisy()):
        alone, over = Lift(op, LEAVES, Local()), Lift(op, LEAVES)
        given = {name: grads()[name] for name in ("tall", "joint", "whole", "experts_cut")}
        state = alone.init(given)
        expected = jax.jit(lambda x, s, alone=alone: alone.apply(x, s)[:2])(given, state)
        got = jax.jit(lambda x, s, over=over: over.apply(x, s)[:2])(placed(given, mesh), state)
        close(got, expected)


@dataclasses.dataclass(frozen=True)
class Scaled(om.linalg.SpectralMap):
    """Multiplies by a number that may be traced."""

    by: tuple[jax.Array, str]

    def apply(self, x):
        return x * self.by[0]

    def scalar(self, s):
        return s * self.by[0]


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_an_operation_may_hold_traced_numbers(kind):
    given = {name: grads()[name] for name in ("row_cut", "whole")}
    placed_here = placed(given, mesh_of(kind))
    scale = jax.device_put(jnp.float32(3.0), NamedSharding(mesh_of(kind), P()))
    got = jax.jit(lambda x, by: Lift(Scaled((by, "name")), LEAVES).apply(x, None)[0])(placed_here, scale)
    close(got, {name: 3 * x for name, x in given.items()})


def test_eager_arrays_and_no_mesh():
    op, given = om.linalg.SVDPolar(), {name: grads()[name] for name in ("tall", "both")}
    expected = {name: op.apply(x) for name, x in given.items()}
    close(Lift(op, LEAVES).apply(given, None)[0], expected)
    close(Lift(op, LEAVES).apply(placed(given, mesh_of(AxisType.Auto)), None)[0], expected)


@pytest.mark.parametrize("spec", [P("fsdp", None), P("tp", "fsdp"), P()], ids=str)
def test_teams_share_a_matrix_when_devices_outnumber_matrices(spec):
    shapes = {"wide": (16, 64), "tall": (64, 16), "odd": (12, 40)}
    rng = np.random.default_rng(0)
    given = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    op, leaves = om.linalg.NewtonSchulz(om.linalg.JORDAN_2024), dict.fromkeys(shapes, Hidden(0, 1))
    lift = Lift(op, leaves, OverMesh(("fsdp", "tp"), flops_per_byte=0.0))
    x = jax.device_put(given, NamedSharding(mesh_of(AxisType.Explicit), spec))
    program = jax.jit(lambda x: lift.apply(x, None)[0]).lower(x).compile()
    close(program(x), {name: op.apply(x) for name, x in given.items()})
    # The odd one is padded to rows and columns that the team can share.
    assert census(program).flops <= 1.3 * sum(plain_flops(*shape) for shape in shapes.values()) / 8
    alone = dataclasses.replace(lift, placement=OverMesh(("fsdp", "tp"), flops_per_byte=0.0, teams=False))
    assert count_flops(lambda x: alone.apply(x, None)[0], x) == pytest.approx(plain_flops(16, 64))


def test_shapes_that_share_a_run_do_not_mix():
    """Five devices' worth of three shapes on eight devices: one place each, one of them NaN."""
    rng = np.random.default_rng(1)
    shapes = {"wide": (2, 8, 24), "tall": (3, 16, 8), "square": (2, 8, 8), "other": (1, 4, 8)}
    leaves = dict.fromkeys(shapes, Hidden(1, 2))
    given = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    given["tall"] = given["tall"].at[1, 0, 0].set(jnp.nan)
    lift = Lift(om.linalg.NewtonSchulz(), leaves)
    expected = lift.apply(given, None)[0]
    mesh = mesh_of(AxisType.Auto)
    specs = {name: P(None, "tp", "fsdp") for name in shapes}
    with jax.set_mesh(mesh):
        run = jax.jit(lambda tree: lift.apply(tree, None)[0])
        found = census(run.lower(placed(given, mesh, specs)).compile())
        result = run(placed(given, mesh, specs))
    close(result, expected, atol=5e-6)  # padded to one shape, products sum in another order
    assert np.isnan(result["tall"]).any(axis=(1, 2)).tolist() == [False, True, False]
    assert found.flops == pytest.approx(plain_flops(8, 24) + plain_flops(4, 8), rel=1e-6)


@pytest.mark.parametrize("option", [{"axes": "dp"}, {"slow_axes": ("dp",)}])
def test_axes_that_the_mesh_lacks_are_refused(option):
    with pytest.raises(ValueError, match="'dp'"):
        OverMesh(mesh=mesh_of(AxisType.Auto), **option)


@pytest.mark.parametrize("option", [{"max_bytes": -1}, {"flops_per_byte": -1.0}])
def test_sizes_below_zero_are_refused(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} must be >= 0, not -1"):
        OverMesh(**option)


def test_inside_the_callers_shard_map():
    mesh, x = mesh_of(AxisType.Auto), grads()["row_cut"]
    op = om.linalg.NewtonSchulz()

    def mapped(leaf, spec, check=True):
        tx = apply_to_matrices(op, leaves={"w": leaf})
        body = lambda x: tx.update({"w": x}, tx.init({"w": x}))[0]["w"]  # noqa: E731
        return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=check))(x)

    with pytest.raises(ValueError, match="w: inside jax.shard_map this array differs along the mesh axis 'fsdp'"):
        mapped(Hidden(0, 1), P("fsdp", None))
    for spec in (P("fsdp", None), P("fsdp", "tp"), P("tp", None)):
        close(mapped(Hidden(0, 1, spec=spec), spec), op.apply(x))
    close(mapped(Hidden(0, 1), P()), op.apply(x))
    blocks = mapped(Hidden(0, 1, spec=P()), P("tp", None))
    close(blocks, jnp.concatenate([op.apply(x[:4]), op.apply(x[4:])]))


def test_a_nan_matrix_leaves_its_neighbours_alone():
    given = grads()
    given["both"] = given["both"].at[0, 0].set(jnp.nan)
    op = om.linalg.NewtonSchulz()
    got = jax.jit(lambda x: Lift(op, LEAVES, OverMesh(flops_per_byte=1.0)).apply(x, None)[0])(
        placed(given, mesh_of(AxisType.Explicit))
    )
    assert jnp.isnan(got["both"]).all()
    assert all(bool(jnp.isfinite(x).all()) for name, x in got.items() if name != "both")
