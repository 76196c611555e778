"""Promises of every matrix operation of the package: what it takes beside its own matrices, it says, and checks."""

import jax
import jax.numpy as jnp
import pytest

import optax_muon as om
from optax_muon import linalg
from optax_muon.transforms._rotated import _Turn
from tests.contracts.collection import OPS, WHITEN, unlisted

every_op = pytest.mark.parametrize("op", [pytest.param(op, id=type(op).__name__) for op in OPS])
SHAPE = (2, 4, 6)


def call(op, trace=jax.eval_shape, **others):
    """Trace one call of an operation."""
    x = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    carry = ({}, {}) if isinstance(op, _Turn) else jax.eval_shape(lambda: op.init(SHAPE, jnp.float32))
    key = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), SHAPE[0])) if op.needs_key else None
    apply = (op.at(jnp.int32(0)) if isinstance(op, linalg.GradientOp) else op).apply
    return trace(lambda x, carry, key, others: apply(x, carry, key=key, **others), x, carry, key, others)


def like(*shape):
    return jax.ShapeDtypeStruct(shape or SHAPE, jnp.float32)


def test_every_operation_is_here():
    missing = unlisted(linalg.MatrixOp, OPS)
    assert not missing, f"add one of {missing} to OPS in tests/contracts/collection.py"


@every_op
def test_it_takes_what_it_says_and_keeps_shape_and_dtype(op):
    y, _, info = call(op, **{name: like() for name in op.takes})
    assert (y.shape, y.dtype) == (SHAPE, jnp.float32)
    assert info.dual is None or info.dual.shape == SHAPE[:1]


@every_op
def test_an_unknown_stack_is_an_error_that_names_it(op):
    with pytest.raises(TypeError, match=rf"{type(op).__name__}\.apply takes .*, not 'grad'"):
        call(op, grad=like(), **{name: like() for name in op.takes})


@pytest.mark.parametrize("op", [pytest.param(op, id=type(op).__name__) for op in OPS if op.takes])
def test_a_missing_stack_and_a_wrong_shape_are_errors_that_name_them(op):
    name, *more = op.takes
    others = {other: like() for other in more}
    with pytest.raises(TypeError, match=rf"{type(op).__name__}\.apply needs '{name}', a stack like x, \(2, 4, 6\)"):
        call(op, **others)
    with pytest.raises(ValueError, match=rf"\.apply: {name} has shape \(2, 6, 4\) where x has \(2, 4, 6\)"):
        call(op, **others, **{name: like(2, 6, 4)})


def test_in_a_tree_the_error_names_the_path():
    updates = {"up": {"kernel": jnp.ones((4, 6))}}
    lift = om.transforms.Lift(WHITEN)
    state = lift.init(updates)
    for wrong, what in (({"up": {"kernel": jnp.ones((6, 4))}}, r"shape \(6, 4\)"), ({}, "nothing")):
        with pytest.raises(ValueError, match=rf"up/kernel: gradient has {what} where the updates have shape \(4, 6\)"):
            lift.apply(updates, state, gradient=wrong)


def test_a_composition_hands_each_member_only_what_it_takes():
    op = linalg.Composed(linalg.Spectrum(), WHITEN)
    assert op.takes == ("gradient",)
    assert call(op, gradient=like())[0].shape == SHAPE
