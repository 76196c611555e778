"""Runs an optimizer beside its NumPy reference on leaves of every kind.

References see one matrix at a time, stored as papers write it: (out, in). The way from a Flax leaf to those matrices
is written out by hand for each case, so that a wrong axis in the library cannot hide here.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_muon as om


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of leaf: its shape and axes, and its matrices (out, in) as a list."""

    shape: tuple[int, ...]
    leaf: om.Leaf
    matrices: Callable[[np.ndarray], list[np.ndarray]]


CASES = {
    "square": Case((8, 8), om.Leaf("hidden", 0, 1), lambda x: [x.T]),
    "tall": Case((24, 8), om.Leaf("hidden", 0, 1), lambda x: [x.T]),
    "wide": Case((8, 24), om.Leaf("hidden", 0, 1), lambda x: [x.T]),
    "stacked": Case((3, 8, 12), om.Leaf("hidden", 1, 2), lambda x: [x[i].T for i in range(3)]),
    "convolution": Case((3, 3, 2, 8), om.Leaf("hidden", (0, 1, 2), 3), lambda x: [x.reshape(18, 8).T]),
    "heads": Case((12, 2, 4), om.Leaf("hidden", 0, 2), lambda x: [x[:, i].T for i in range(2)]),
    "fused": Case((8, 24), om.Leaf("hidden", 0, 1, (8, 8, 8)), lambda x: [x[:, i : i + 8].T for i in (0, 8, 16)]),
    "uneven": Case((8, 14), om.Leaf("hidden", 0, 1, (8, 6)), lambda x: [x[:, :8].T, x[:, 8:].T]),
}
LEAVES = {name: case.leaf for name, case in CASES.items()}
STEPS = 10


def problem(dtype, seed=0, cases=CASES):
    """Give starting weights, and gradients of every step, by case."""
    rng = np.random.default_rng(seed)
    weights = {name: rng.normal(size=case.shape).astype(dtype) for name, case in cases.items()}
    gradients = [
        {name: rng.normal(size=case.shape).astype(dtype) for name, case in cases.items()} for _ in range(STEPS)
    ]
    return weights, gradients


def run(tx: optax.GradientTransformation, weights, gradients, extra=None, finish=lambda state, params: params):
    """Take every step, jitted; ``finish`` of the last state and weights as NumPy arrays.

    ``extra`` names further arguments of ``update``, each with its value at every step.
    """
    tx = optax.with_extra_args_support(tx)
    extra = extra or {}

    @jax.jit
    def step(params, state, grads, given):
        updates, state = tx.update(grads, state, params, **given)
        return optax.apply_updates(params, updates), state

    params = jax.tree.map(jnp.asarray, weights)
    state = tx.init(params)
    for i, grads in enumerate(gradients):
        params, state = step(params, state, grads, {name: values[i] for name, values in extra.items()})
    return jax.tree.map(np.asarray, finish(state, params))


@functools.cache
def numpy_map(op: om.linalg.SpectralMap):
    """Give the values of an orthogonaliser to a reference, in float64; call under x64."""
    apply = jax.jit(op.apply)
    return lambda x: np.asarray(apply(jnp.asarray(x, jnp.float64)), np.float64)


def assert_matches(
    tx, reference, *, dtype=np.float64, tolerance=1e-10, cases=CASES, extra=(), finish=lambda state, params: params
):
    """Assert that ``tx`` walks every case as ``reference(w, gradients) -> w`` does on each of its matrices.

    For every name in ``extra`` both get one more sequence of random gradients under that keyword; ``finish`` makes of
    the last state and parameters what the reference returns.
    """
    weights, gradients = problem(dtype, cases=cases)
    given = {name: problem(dtype, seed=i + 1, cases=cases)[1] for i, name in enumerate(extra)}
    final = run(tx, weights, gradients, given, finish)
    wide = np.float64
    for name, case in cases.items():
        inputs = zip(case.matrices(weights[name]), *(case.matrices(g[name]) for g in gradients), strict=True)
        expected = []
        for i, (w, *gs) in enumerate(inputs):
            more = {key: [case.matrices(g[name])[i].astype(wide) for g in values] for key, values in given.items()}
            expected.append(reference(w.astype(wide), [g.astype(wide) for g in gs], **more))
        for i, (got, want) in enumerate(zip(case.matrices(final[name]), expected, strict=True)):
            assert np.abs(want - case.matrices(weights[name])[i]).max() > 1e-3, f"{name}: the reference did not move"
            np.testing.assert_allclose(got, want, atol=tolerance, rtol=0, err_msg=f"{name}, matrix {i}")
