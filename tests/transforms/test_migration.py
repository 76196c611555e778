"""A run of optax.contrib.muon goes on: momentum, moments and counts are kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optax_muon as om
from optax_muon.matrices._paths import by_path, map_by_path

SHAPES = {"up": {"kernel": (4, 8), "bias": (8,)}, "layers": {"kernel": (2, 4, 4)}, "embed": {"embedding": (6, 4)}}
LEAVES = {
    "up": {"kernel": om.Leaf("hidden", 0, 1), "bias": om.Leaf("vector")},
    "layers": {"kernel": om.Leaf("hidden", 1, 2)},
    "embed": {"embedding": om.Leaf("embedding", 0, 1)},
}


def tree(seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape)), SHAPES, is_leaf=lambda x: isinstance(x, tuple)
    )


def ran(old, params, steps=3):
    """A state as after a few steps: every moment is random, a square positive, and every count is three."""
    rng = np.random.default_rng(0)

    def fill(path, x):
        tokens = path.split("/")
        if "mu" in tokens or "nu" in tokens:
            values = rng.normal(size=x.shape)
            return jnp.asarray(values**2 if "nu" in tokens else values, x.dtype)
        return jnp.asarray(steps, x.dtype) if tokens[-1] == "count" else x

    return map_by_path(fill, old.init(params))


def new(leaves=LEAVES, **options):
    return om.for_matrices(functools.partial(om.muon, 0.02, **options), optax.adamw(3e-4), leaves=leaves)


OLD = {
    "bare": optax.contrib.muon(0.02),
    "within a chain": optax.chain(optax.clip_by_global_norm(1e9), optax.contrib.muon(0.02)),
    "injected": optax.inject_hyperparams(optax.contrib.muon)(learning_rate=0.02),
}


@pytest.mark.parametrize("name", OLD)
def test_moments_are_kept_whoever_kept_them(name):
    params = tree(9)
    state = ran(OLD[name], params)
    made = om.migrate(state, params, new())
    jax.tree.map(lambda a, b: None, made, new().init(params))
    nodes = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, optax.contrib.MuonState | optax.ScaleByAdamState))
    muon = next(x for x in nodes if isinstance(x, optax.contrib.MuonState))
    adam = next(x for x in nodes if isinstance(x, optax.ScaleByAdamState))
    momentum = made.inner_states["hidden"].inner_state[0].average
    np.testing.assert_array_equal(momentum["up"]["kernel"], muon.mu["up"]["kernel"])
    np.testing.assert_array_equal(momentum["layers"]["kernel"], adam.mu["layers"]["kernel"])
    other = made.inner_states["other"].inner_state[0]
    np.testing.assert_array_equal(other.nu["up"]["bias"], adam.nu["up"]["bias"])
    np.testing.assert_array_equal(other.mu["embed"]["embedding"], muon.mu["embed"]["embedding"])
    np.testing.assert_array_equal(other.nu["embed"]["embedding"], jnp.square(muon.mu["embed"]["embedding"]))
    assert other.count == adam.count == 3
    assert isinstance(momentum["up"]["bias"], optax.MaskedNode)


def test_the_next_direction_comes_from_the_kept_momentum():
    params, grads, orthogonalizer = tree(9), tree(7), om.linalg.NewtonSchulz(om.linalg.JORDAN_2024)
    state = ran(OLD["bare"], params)
    kept = state.inner_states["muon"].inner_state[0].mu["up"]["kernel"]
    tx = new(orthogonalizer=orthogonalizer)
    updates, _ = jax.jit(tx.update)(grads, om.migrate(state, params, tx), params)
    momentum = 0.95 * kept + 0.05 * grads["up"]["kernel"]
    ahead = orthogonalizer.apply((0.95 * momentum + 0.05 * grads["up"]["kernel"])[None])[0]
    np.testing.assert_allclose(updates["up"]["kernel"], -0.02 * 2**0.5 * ahead, rtol=0, atol=1e-6)
    fresh, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    assert jnp.abs(updates["up"]["kernel"] - fresh["up"]["kernel"]).max() > 1e-3


def test_a_chain_with_the_same_rule_goes_on_as_if_nothing_had_happened():
    """Bias correction, table and shape scale as optax has them; float64, where its epsilon is all that differs."""
    with jax.enable_x64(True):
        params, schedule = tree(9), optax.linear_schedule(0.02, 0.0, 10)
        old = optax.contrib.muon(schedule, adam_learning_rate=3e-4)
        leaves = LEAVES | {"layers": {"kernel": om.Leaf("other")}, "embed": {"embedding": om.Leaf("hidden", 0, 1)}}
        chain = optax.chain(
            om.transforms.nesterov_ema(0.95, debias=True),
            om.transforms.apply_to_matrices(om.linalg.NewtonSchulz(om.linalg.JORDAN_2024), leaves=leaves),
            om.transforms.scale_by_shape(om.shapes.Jordan(), leaves=leaves),
            optax.scale_by_learning_rate(schedule),
        )
        tx = om.for_matrices(lambda leaves: chain, optax.nadam(3e-4), leaves=leaves)
        a, b = ran(old, params), None
        b = om.migrate(a, params, tx)
        for seed in (5, 6):
            expected, a = jax.jit(old.update)(tree(seed), a, params)
            found, b = jax.jit(tx.update)(tree(seed), b, params)
            for path, x in by_path(expected).items():
                np.testing.assert_allclose(by_path(found)[path], x, rtol=1e-6, err_msg=path)


def test_a_parameter_that_changes_hands_takes_steps_of_adams_size():
    params = tree(9)
    params = {"embed": params["embed"]}
    adam = optax.adamw(3e-4)
    tx = optax.multi_transform({"hidden": optax.ema(0.9), "other": adam}, {"embed": {"embedding": "other"}})
    updates, _ = jax.jit(tx.update)(params, om.migrate(ran(OLD["bare"], params), params, tx), params)
    size = jnp.abs(updates["embed"]["embedding"])
    assert (size < 3.3 * 3e-4 * 1.4).all(), "bounded as Adam's own after a fresh start late in a run"
    assert size.mean() > 3e-5


def test_fresh_memory_starts_at_its_first_step_and_schedules_go_on():
    params, schedule = tree(9), optax.constant_schedule(0.02)
    make = functools.partial(om.kl_shampoo, schedule)
    tx = om.for_matrices(make, optax.adamw(3e-4), leaves=LEAVES)
    made = by_path(om.migrate(ran(OLD["bare"], params), params, tx).inner_states["hidden"])
    counts = [int(x) for path, x in made.items() if path.endswith("count")]
    assert counts == [3, 0, 3], "the average's, the factors' and the schedule's"


def test_frozen_parameters_are_left_behind():
    params = tree(9)
    leaves = LEAVES | {"embed": {"embedding": om.Leaf("frozen")}}
    made = om.migrate(ran(OLD["bare"], params), params, new(leaves))
    assert not any("embed" in path for path in by_path(made))


def test_within_an_nnx_optimizer():
    model = nnx.Linear(4, 8, rngs=nnx.Rngs(0))
    old = nnx.Optimizer(model, optax.contrib.muon(0.02), wrt=nnx.Param)
    filled = ran(optax.contrib.muon(0.02), nnx.as_pure(nnx.state(model, nnx.Param)))
    nnx.update(old.opt_state, nnx.state(filled))
    tx = om.for_matrices(functools.partial(om.muon, 0.02), optax.adamw(3e-4), leaves=om.leaves_from_flax(model))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    params = nnx.as_pure(nnx.state(model, nnx.Param))
    nnx.update(optimizer.opt_state, nnx.state(om.migrate(nnx.as_pure(old.opt_state), params, tx)))
    average = optimizer.opt_state.inner_states["hidden"].inner_state[0].average["kernel"]
    np.testing.assert_array_equal(average[...], filled.inner_states["muon"].inner_state[0].mu["kernel"])


@pytest.mark.parametrize(
    ("state", "change", "tx", "message"),
    [
        (
            optax.adam(1e-3),
            {},
            new(),
            r"is no older form of this optimizer's:\n  .*average/layers/kernel: the old state",
        ),
        (optax.chain(OLD["bare"], OLD["bare"]), {}, new(), "holds 2 MuonState"),
        (OLD["bare"], {"up": {"kernel": jnp.ones((4, 9)), "bias": jnp.ones(8)}}, new(), r"up/kernel is \(4, 9\)"),
        (OLD["bare"], {"more": {"kernel": jnp.ones((4, 4))}}, new(), r"more/kernel is \(4, 4\), and .* nothing there"),
        (OLD["bare"], {}, optax.sgd(1.0), "keeps no average of gradients for anything"),
        (
            OLD["bare"],
            {},
            om.for_matrices(functools.partial(om.dion, 0.02), optax.adamw(3e-4), leaves=LEAVES),
            r"keeps no average of gradients for layers/kernel \(and 1 more\)",
        ),
        (OLD["bare"], {}, optax.sgd(1.0, momentum=0.9), "optax.trace sums gradients"),
        (
            OLD["bare"],
            {},
            om.for_matrices(functools.partial(om.soap, 0.02), optax.adamw(3e-4), leaves=LEAVES),
            "in bases of its own",
        ),
    ],
)
def test_errors(state, change, tx, message):
    params = tree(9)
    found = state.init(params)
    with pytest.raises(ValueError, match=message):
        om.migrate(found, params | change, tx)
