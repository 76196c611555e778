"""Scion against its reference in every role, its ball, its initialiser and its relatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness, roles
from tests.references import scion as reference

EXACT = om.linalg.SVDPolar()
JORDAN = om.linalg.NewtonSchulz(om.linalg.JORDAN_2024)
RADII = {"hidden": 2.0, "embedding": 0.5, "head": 30.0, "router": 3.0, "vector": 0.7}


@pytest.mark.parametrize(
    ("orthogonalizer", "weight_decay", "cases"),
    [(EXACT, 1.0, harness.CASES), (JORDAN, 1.0, roles.FEW), (EXACT, 0.0, roles.FEW)],
    ids=["constrained", "newton-schulz", "unconstrained"],
)
def test_hidden_matrices_in_x64(orthogonalizer, weight_decay, cases):
    options = {"learning_rate": 0.1, "momentum": 0.8, "weight_decay": weight_decay}
    with jax.enable_x64(True):
        tx = om.scion(orthogonalizer=orthogonalizer, radii=RADII, leaves=roles.leaves(cases), **options)
        lmo = reference.spectral(harness.numpy_map(orthogonalizer))
        harness.assert_matches(tx, functools.partial(reference.scion, lmo=lmo, radius=2.0, **options), cases=cases)


@pytest.mark.parametrize(
    ("cases", "lmo", "radius"),
    [
        (roles.EMBEDDING, reference.column_norm_of_embedding, 0.5),
        (roles.HEAD, reference.sign, 30.0),
        (roles.VECTOR, reference.bias_rms, 0.7),
        (roles.ROUTER, "spectral", 3.0),
    ],
    ids=["embedding", "head", "vector", "router"],
)
def test_other_roles_in_x64(cases, lmo, radius):
    options = {"learning_rate": 0.1, "momentum": 0.8, "weight_decay": 1.0}
    with jax.enable_x64(True):
        lmo = reference.spectral(harness.numpy_map(EXACT)) if lmo == "spectral" else lmo
        tx = om.scion(orthogonalizer=EXACT, radii=RADII, leaves=roles.leaves(cases), **options)
        harness.assert_matches(tx, functools.partial(reference.scion, lmo=lmo, radius=radius, **options), cases=cases)


def test_a_glob_gives_a_convolution_its_own_norm():
    cases = roles.CONVOLUTION
    with jax.enable_x64(True):
        norms = {"conv*": om.norms.SpectralConv(9, EXACT)}
        tx = om.scion(0.1, norms=norms, radii={"conv*": 4.0}, leaves=roles.leaves(cases))
        lmo = reference.spectral_conv(harness.numpy_map(EXACT), 9)
        expected = functools.partial(reference.scion, lmo=lmo, learning_rate=0.1, radius=4.0)
        harness.assert_matches(tx, expected, cases=cases)


def model(seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    shapes = {
        "up": {"kernel": (6, 10), "bias": (10,)},
        "embed": {"embedding": (7, 6)},
        "lm_head": {"kernel": (6, 7)},
    }
    draw = lambda shape: jnp.asarray(scale * rng.normal(size=shape), jnp.float32)  # noqa: E731
    return jax.tree.map(draw, shapes, is_leaf=lambda x: isinstance(x, tuple))


def sizes(params, norms):
    return {
        "hidden": float(norms["hidden"].value(params["up"]["kernel"])),
        "embedding": float(norms["embedding"].value(params["embed"]["embedding"])),
        "head": float(norms["head"].value(params["lm_head"]["kernel"])),
        "vector": float(norms["vector"].value(params["up"]["bias"][None])),
    }


def test_initialiser_draws_on_the_boundary_and_iterates_stay_in_the_ball():
    norms = om.norms.for_roles(EXACT)
    params = jax.jit(functools.partial(om.scion_init, radii=RADII))(jax.random.key(0), model())
    start = sizes(params, norms)
    for role in ("hidden", "embedding", "head"):
        assert start[role] == pytest.approx(RADII[role], rel=1e-5)
    assert start["vector"] == 0
    s = jnp.linalg.svd(params["up"]["kernel"], compute_uv=False)
    np.testing.assert_allclose(s, 2 * np.sqrt(10 / 6), rtol=1e-5)
    assert set(np.abs(params["lm_head"]["kernel"]).ravel().round(5)) == {5.0}

    tx = om.scion(0.4, norms=norms, radii=RADII)
    state = tx.init(params)
    update = jax.jit(tx.update)
    for i in range(6):
        updates, state = update(model(i + 1), state, params)
        params = optax.apply_updates(params, updates)
        for role, size in sizes(params, norms).items():
            assert size <= RADII[role] * (1 + 1e-5), (i, role)


def test_unconstrained_spectral_is_muon_with_the_spectral_shape_scale():
    params, grads = model(), model(1)
    keep = lambda tree: {"up": {"kernel": tree["up"]["kernel"]}}  # noqa: E731
    options = {"momentum": 0.9, "orthogonalizer": EXACT}
    muon = om.muon(0.1, nesterov=False, shape_scale=om.shapes.Spectral(), **options)
    scion = om.scion(0.1, weight_decay=0.0, **options)
    a, b = (tx.update(keep(grads), tx.init(keep(params)), keep(params))[0]["up"]["kernel"] for tx in (muon, scion))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match="no norm for 'heads'"):
        om.scion(0.1, radii={"heads": 2.0})
    with pytest.raises(ValueError, match="radius must be positive"):
        om.scion(0.1, radii={"head": 0.0})
    with pytest.raises(ValueError, match="momentum"):
        om.scion(0.1, momentum=1.0)
    with pytest.raises(ValueError, match=r"thing: a other, and there is nothing for it"):
        om.scion(0.1, leaves={"thing": om.Leaf("other")}).init({"thing": jnp.ones(3)})


def test_empty_tree_and_frozen_leaves():
    tx = om.scion(0.1)
    assert tx.update({}, tx.init({}), {})[0] == {}
    leaves = {"a": om.Leaf("hidden", 0, 1), "b": om.Leaf("frozen")}
    params = {"a": jnp.eye(3), "b": jnp.ones(3)}
    tx = om.scion(0.1, leaves=leaves, weight_decay=0.0)
    updates, _ = tx.update(params, tx.init(params), params)
    assert not updates["b"].any()
    assert updates["a"].any()
