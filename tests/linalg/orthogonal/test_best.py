"""best() takes whichever iteration is faster and safe, and both compute the same."""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_muon import linalg

DEFAULT = linalg.Arithmetic(precision=jax.lax.Precision.DEFAULT)


@pytest.mark.parametrize(
    ("shape", "gram"),
    [
        ((512, 512), False),
        ((512, 700), False),
        ((512, 1024), True),
        ((1024, 512), True),
        ((256, 2048), True),
    ],
)
def test_choice_by_aspect_ratio(shape, gram):
    op = linalg.best(arithmetic=linalg.FLOAT32)
    assert isinstance(op.choice(*shape), linalg.GramNewtonSchulz) == gram


@pytest.mark.parametrize("arithmetic", [linalg.FLOAT32, linalg.FLOAT16, linalg.BFLOAT16], ids=["f32", "f16", "bf16"])
def test_flops_are_never_more_than_the_plain_iteration_s(arithmetic):
    for table in linalg.TABLES:
        if table.survives(arithmetic.significand_bits):
            op = linalg.best(table, arithmetic=arithmetic)
            for n in (64, 96, 128, 256, 512):
                assert op.flops(64, n) == op.flops(n, 64) <= op.plain.flops(64, n)


def test_flops_match_the_formulae():
    # performance.md A1, in units of 2 m^3: plain T(2a + 1); Gram 4T - 3S + 2aS; for cubics 2aT and 3(T - S) + 2aS.
    plain, gram = linalg.NewtonSchulz(), linalg.GramNewtonSchulz()
    assert gram.restarts_used == (2,)
    assert plain.flops(64, 256) == 2 * 64**3 * 5 * 9
    assert gram.flops(64, 256) == gram.flops(256, 64) == 2 * 64**3 * (20 - 6 + 16)
    cubic = linalg.GramNewtonSchulz(linalg.CUBIC_2026)
    segments = len(cubic.restarts_used) + 1
    assert cubic.plain.flops(64, 256) == 2 * 64**3 * 40
    assert cubic.flops(64, 256) == 2 * 64**3 * (3 * (5 - segments) + 8 * segments)
    assert linalg.GramNewtonSchulz().flops(64, 64) == plain.flops(64, 64)


def test_plain_where_the_gram_iteration_would_be_unsafe_or_unknown():
    assert type(linalg.best(arithmetic=DEFAULT)) is linalg.NewtonSchulz
    traced, known = jnp.array([[1.5, -0.5]]), np.array([[1.5, -0.5]])
    assert type(linalg.best(traced, arithmetic=linalg.FLOAT32)) is linalg.NewtonSchulz
    assert type(linalg.best(known, arithmetic=linalg.FLOAT32)) is linalg.PlainOrGram


@pytest.mark.parametrize("shape", [(6, 6), (4, 20), (20, 4)])
def test_equals_the_iteration_it_chose(shape):
    x = jax.random.normal(jax.random.key(0), (2, *shape))
    op = linalg.best(arithmetic=linalg.FLOAT32)
    assert (op.apply(x) == op.choice(*shape).apply(x)).all()
    np.testing.assert_allclose(op.apply(x), op.plain.apply(x), atol=1e-4)
    assert (op.scalar(jnp.ones(4)) == op.plain.scalar(jnp.ones(4))).all()


def test_flags_follow_the_normaliser():
    assert linalg.best().commutes_with_transpose
    assert linalg.best().commutes_with_padding
    assert not linalg.best(linalg.TURBO_MUON_2025).commutes_with_transpose


def test_vectors_are_refused():
    with pytest.raises(ValueError, match="shape"):
        linalg.best().apply(jnp.ones(3))


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "limit"), [((1024, 4096), 0.70), ((1024, 1024), 1.05)])
def test_time_against_the_plain_iteration(shape, limit):
    """Interleaved medians; up to three rounds, for other work on the machine can only disturb one."""
    x = jax.random.normal(jax.random.key(0), shape)
    ops = [jax.jit(linalg.NewtonSchulz().apply), jax.jit(linalg.best().apply)]
    ratios = []
    for _ in range(3):
        times = [[], []]
        for _ in range(11):
            for op, taken in zip(ops, times, strict=True):
                start = time.perf_counter()
                jax.block_until_ready(op(x))
                taken.append(time.perf_counter() - start)
        plain, best = (statistics.median(taken[1:]) for taken in times)
        ratios.append(best / plain)
        if ratios[-1] <= limit:
            return
    raise AssertionError(f"best() took {ratios} of the plain iteration's time, not {limit}")
