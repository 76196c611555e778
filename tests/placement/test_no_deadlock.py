"""No collective stands in a branch that devices choose differently, whatever the kinds of a mesh's axes.

Where it does, some devices wait in it and the others in another one, until the runtime gives up.
"""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.placement._local import Local
from optax_muon.transforms import Lift
from tests.benchmarks.census import in_branches
from tests.placement.test_over_mesh import close

AUTO, EXPLICIT = AxisType.Auto, AxisType.Explicit
MESHES = [(4, 2), (2, 4), (2, 3), (3, 2), (2, 2, 2), (3,), (8,)]  # two by three and three leave devices out
SHAPES = [(24, 48), (48, 24), (24, 24), (12, 24), (72, 24)]
OP = om.linalg.NewtonSchulz(om.linalg.JORDAN_2024)


def random_case(rng, mixed):
    """A mesh, specs and gradients; ``mixed``: one axis at least is Auto and one Explicit where there are several."""
    shape = MESHES[rng.integers(5 if mixed else len(MESHES))]
    kinds = [(AUTO, EXPLICIT)[i] for i in rng.integers(2, size=len(shape))]
    if mixed and len(set(kinds)) == 1:
        kinds[rng.integers(len(kinds))] = EXPLICIT if kinds[0] == AUTO else AUTO
    devices = np.array(jax.devices()[: int(np.prod(shape))]).reshape(shape)
    mesh = Mesh(devices, ("a", "b", "c")[: len(shape)], axis_types=tuple(kinds))
    names = [str(i) for i in range(rng.integers(3, 7))]
    grads = {i: rng.normal(size=SHAPES[rng.integers(len(SHAPES))]).astype(np.float32) for i in names}
    return mesh, {i: random_spec(rng, mesh, x.shape) for i, x in grads.items()}, grads


def random_spec(rng, mesh, shape):
    """Every axis cuts one of the two sides or neither, in any order."""
    sides = [[], []]
    for name in rng.permutation(mesh.axis_names):
        if (side := rng.integers(3)) < 2:
            sides[side].append(str(name))
    sizes = [int(np.prod([mesh.shape[name] for name in side])) for side in sides]
    return P(
        *(tuple(side) if side and n % size == 0 else None for side, n, size in zip(sides, shape, sizes, strict=True))
    )


def only(spec, names):
    """The part of a spec that speaks of these axes."""
    kept = [tuple(n for n in (entry if isinstance(entry, tuple) else (entry,)) if n in names) for entry in spec]
    return P(*(entry or None for entry in kept))


def first(spec, names):
    """The spec with these axes before the others of an entry: JAX maps over no axis that another one cuts before."""
    return P(*(entry and tuple(sorted(entry, key=lambda n: n not in names)) for entry in spec))


def checked(program, mesh, specs, grads):
    """Compile, look into the branches, and only then run and compare with one device."""
    given = {i: jax.device_put(x, NamedSharding(mesh, specs[i])) for i, x in grads.items()}
    with jax.set_mesh(mesh):
        compiled = jax.jit(program).lower(given).compile()
        assert in_branches(compiled.as_text()) == [], (mesh, specs)
        got = compiled(given)
    close(got, Lift(OP, dict.fromkeys(grads, om.Leaf("hidden", 0, 1)), Local()).apply(grads, None)[0])


def mixed_axes(seed):
    """One update on a mesh whose axes are partly Auto, partly Explicit; half the time its leaves have specs."""
    rng = np.random.default_rng(seed)
    mesh, specs, grads = random_case(rng, mixed=True)
    told = rng.integers(2)
    leaves = {i: om.Leaf("hidden", 0, 1, spec=specs[i] if told else None) for i in grads}
    lift = Lift(OP, leaves, om.OverMesh(teams=bool(rng.integers(2)), flops_per_byte=1.0))
    checked(lambda x: lift.apply(x, None)[0], mesh, specs, grads)


def partly_manual(seed):
    """One update inside a map over some axes of a mesh."""
    rng = np.random.default_rng(seed)
    mesh, specs, grads = random_case(rng, mixed=False)
    manual = set(mesh.axis_names[: rng.integers(1, len(mesh.axis_names) + 1)])
    specs = {i: first(spec, manual) for i, spec in specs.items()}
    inner = {i: only(spec, manual) for i, spec in specs.items()}
    leaves = {i: om.Leaf("hidden", 0, 1, spec=(specs if rng.integers(2) else inner)[i]) for i in grads}
    lift = Lift(OP, leaves, om.OverMesh(flops_per_byte=1.0))
    # Unchecked, since a result that every replica holds counts as one that may differ.
    body = jax.shard_map(
        lambda x: lift.apply(x, None)[0], mesh=mesh, in_specs=(inner,), out_specs=inner, axis_names=manual,
        check_vma=False,
    )  # fmt: skip
    checked(body, mesh, specs, grads)


@pytest.mark.parametrize("seed", [7])  # of 2 x 2 x 2
def test_mixed_axes(seed):
    mixed_axes(seed)


@pytest.mark.parametrize("seed", [21])  # of 2 x 3
def test_partly_manual(seed):
    partly_manual(seed)


@pytest.mark.slow
@pytest.mark.parametrize("case", [mixed_axes, partly_manual])
@pytest.mark.parametrize("seed", range(60))
def test_many_random_meshes(case, seed):
    case(seed)
