"""What one example can change is bounded, whatever it is, and the noise is as large as is said."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon import transforms
from optax_muon.matrices._paths import by_path
from tests.references.dp_muon import clipped_mean

LEAVES = {
    "fused": om.Leaf("hidden", 0, 1, split=(4, 3)),
    "stacked": om.Leaf("hidden", 1, -1),
    "bias": om.Leaf("vector"),
    "scale": om.Leaf("vector"),
    "old": om.Leaf("frozen", 0, 1),
}
SHAPES = {"fused": (5, 7), "stacked": (2, 3, 4), "bias": (2, 4), "scale": (), "old": (2, 2)}
PARAMS = {path: jnp.zeros(shape) for path, shape in SHAPES.items()}
MATRICES = {  # the same by hand: what is clipped as one
    "fused": lambda x: [x[..., :4], x[..., 4:]],
    "stacked": lambda x: [x[:, 0], x[:, 1]],
    "bias": lambda x: [x],
    "scale": lambda x: [x[:, None]],
}
L, C, B = 6, 0.7, 8


def gradients():
    """Examples of many sizes; the last is the one that will be changed."""
    rng = np.random.default_rng(0)
    made = {path: rng.normal(size=(*shape, B)) * np.geomspace(0.1, 3, B) for path, shape in SHAPES.items()}
    return {path: jnp.asarray(np.moveaxis(x, -1, 0), jnp.float32) for path, x in made.items()}


@jax.jit
def clean(grads):
    tx = transforms.private_mean(C, 0.0, 0, leaves=LEAVES)
    return tx.update(grads, tx.init(PARAMS))[0]


def test_mean_of_clipped_examples():
    grads, mean = gradients(), clean(gradients())
    assert mean["old"].tolist() == np.zeros((2, 2)).tolist()
    for path, cut in MATRICES.items():
        want = [clipped_mean(list(np.asarray(x, np.float64)), C) for x in cut(grads[path])]
        got = [x[0] for x in cut(mean[path][None])]
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    lengths = [np.linalg.norm(z) for path, cut in MATRICES.items() for x in cut(grads[path]) for z in x]
    assert min(lengths) < C < max(lengths)


@pytest.mark.parametrize("other", [1.0, 1e30, 1e-30, np.nan, np.inf])
def test_one_example_moves_a_matrix_by_no_more_than_its_share(other):
    grads = gradients()
    changed = {path: x.at[-1].multiply(-other) for path, x in grads.items()}
    before, after = clean(grads), clean(changed)
    moves = [
        np.linalg.norm(y - x)
        for path, cut in MATRICES.items()
        for x, y in zip(cut(before[path][None]), cut(after[path][None]), strict=True)
    ]
    assert max(moves) <= 2 * C / B * (1 + 1e-5)
    assert max(moves) > 0.9 * C / B
    # Over the noise of each: the step as a whole changes by 2 / sigma at most, since sigma is the step's.
    sizes = transforms.noise_deviations(PARAMS, C, 1.5, batch_size=B, leaves=LEAVES)
    assert np.linalg.norm(np.array(moves) / sizes["bias"]) <= 2 / 1.5 * (1 + 1e-5)


def test_the_noise_is_as_large_as_said_and_fresh():
    leaves = {"up": om.Leaf("hidden", 0, 1), "down": om.Leaf("hidden", 0, 1)}
    grads = {path: jnp.zeros((4, 100, 100)) for path in leaves}
    clip = {"up": 2.0, "hidden": 0.5}
    tx = transforms.private_mean(clip, 3.0, 5, leaves=leaves)
    step = jax.jit(tx.update)
    first, state = step(grads, tx.init(jax.tree.map(lambda x: x[0], grads)))
    second, _ = step(grads, state)
    for path, c in (("up", 2.0), ("down", 0.5)):
        want = 3.0 * c * 2**0.5 / 4
        assert np.std(first[path]) == pytest.approx(want, rel=0.03)
        assert abs(np.mean(first[path])) < 4 * want / 100
        correlation = np.corrcoef(np.ravel(first[path]), np.ravel(second[path]))[0, 1]
        assert abs(correlation) < 0.05
    assert abs(np.corrcoef(np.ravel(first["up"]), np.ravel(first["down"]))[0, 1]) < 0.05
    again, _ = step(grads, tx.init(jax.tree.map(lambda x: x[0], grads)))
    assert (again["up"] == first["up"]).all()
    alone = transforms.noise_deviations(
        jax.tree.map(lambda x: x[0], grads), clip, 3.0, batch_size=4, joint=False, leaves=leaves
    )
    assert alone == {"up": 1.5, "down": 0.375}


def loss(params, example):
    x, y = example
    return jnp.mean(jnp.square(jnp.tanh(x @ params["up"]["kernel"]) @ params["down"]["kernel"] - y))


def test_microbatches_give_the_same_and_bound_temporaries():
    rng = np.random.default_rng(0)
    params = {"up": {"kernel": jnp.asarray(rng.normal(size=(32, 64)) / 6, jnp.float32)}}
    params["down"] = {"kernel": params["up"]["kernel"].T}
    batch = tuple(jnp.asarray(rng.normal(size=(16, 32)), jnp.float32) for _ in range(2))
    used, grads = {}, {}
    for size in (16, 2):
        f = jax.jit(lambda p, b, size=size: om.clipped_gradient(loss, p, b, clip=0.1, microbatch=size))
        compiled = f.lower(params, batch).compile()
        used[size], grads[size] = compiled.memory_analysis().temp_size_in_bytes, compiled(params, batch)
    for a, b in zip(*map(jax.tree.leaves, grads.values()), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    assert used[2] < used[16] / 3, used
    # Together with its noise it is `private_mean`, to the bit of the noise.
    halves = transforms.add_private_noise(0.1, 1.0, 3, batch_size=16)
    whole = transforms.private_mean(0.1, 1.0, 3)
    per_example = jax.vmap(jax.grad(loss), (None, 0))(params, batch)
    a, _ = halves.update(grads[2], halves.init(params))
    b, _ = whole.update(per_example, whole.init(params))
    np.testing.assert_allclose(a["up"]["kernel"], b["up"]["kernel"], atol=1e-7)
    with pytest.raises(ValueError, match="microbatch of 3 does not divide the batch of 16"):
        om.clipped_gradient(loss, params, batch, clip=0.1, microbatch=3)


def test_before_the_partition_it_trains():
    tx = optax.chain(
        transforms.private_mean({"hidden": 1.0, "vector": 0.1}, 0.1, 0),
        om.for_matrices(om.dp_muon(0.1), otherwise=optax.sgd(0.1)),
    )
    params = {"up": {"kernel": jnp.eye(4) + 0.3, "bias": jnp.ones(4)}}

    def far(p, z):
        return 0.5 * jnp.sum(jnp.square(p["up"]["kernel"] @ z)) + 0.5 * jnp.sum(jnp.square(p["up"]["bias"]))

    @jax.jit
    def step(params, state, batch):
        grads = jax.vmap(jax.grad(far), (None, 0))(params, batch)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state, batch = tx.init(params), jnp.asarray(np.random.default_rng(0).normal(size=(32, 4)), jnp.float32)
    start = float(jnp.mean(jax.vmap(far, (None, 0))(params, batch)))
    for _ in range(60):
        params, state = step(params, state, batch)
    assert float(jnp.mean(jax.vmap(far, (None, 0))(params, batch))) < 0.25 * start


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="up/bias: a vector, and there is nothing for it"):
        transforms.private_mean({"hidden": 1.0}, 1.0, 0).init({"up": {"kernel": PARAMS["old"], "bias": PARAMS["bias"]}})
    with pytest.raises(ValueError, match="infinite clip"):
        transforms.private_mean(np.inf, 1.0, 0).init({"up": {"kernel": PARAMS["old"]}})
    with pytest.raises(ValueError, match="clip must be positive"):
        transforms.private_mean(0.0, 1.0, 0).init({"up": {"kernel": PARAMS["old"]}})
    tx = transforms.private_mean(1.0, 0.0, 0)
    grads = {"up": {"kernel": jnp.ones((3, 2, 2)), "bias": jnp.ones((2, 2))}}
    with pytest.raises(ValueError, match="one and the same leading axis"):
        tx.update(grads, tx.init(grads))
    assert by_path(grads)
