"""Every norm against its definition, its duality, and hostile input."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.norms.definitions import DEFINITIONS

pytestmark = pytest.mark.thinned(3)

every_norm = pytest.mark.parametrize("name", list(DEFINITIONS))
SHAPES = [(6, 10), (9, 5), (3, 1), (1, 4)]
BATCH = 3


def shapes_of(definition, first=4):
    return [
        s
        for s in SHAPES[:first]
        if s[0] >= definition.least[0] and s[1] >= definition.least[1] and s[0] % definition.least[0] == 0
    ]


def stack(shape, dtype=np.float64, seed=0, count=BATCH):
    """Matrices of spread spectra, entries and sizes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, *shape)) * np.exp(rng.normal(size=(count, shape[0], 1)))
    if np.issubdtype(dtype, np.complexfloating):
        x = x + 1j * rng.normal(size=x.shape)
    return (x * np.array([1.0, 7.0, 0.01])[:count, None, None]).astype(dtype)


def pairing(x, y):
    return np.real(np.conj(x) * y).sum(axis=(-2, -1))


@every_norm
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-6), (np.complex64, 2e-6)], ids=["f64", "f32", "c64"]
)
def test_definition_and_duality(name, dtype, tolerance):
    definition = DEFINITIONS[name]
    norm = definition.norm
    with jax.enable_x64(dtype == np.float64):
        for shape in shapes_of(definition, first=4 if dtype == np.float64 else 1):
            x = stack(shape, dtype)
            wide = x.astype(np.complex128) if np.iscomplexobj(x) else x.astype(np.float64)
            dual = np.array([definition.dual(one) for one in wide])
            np.testing.assert_allclose(norm.value(x), [definition.value(one) for one in wide], rtol=tolerance)
            np.testing.assert_allclose(norm.dual(x), dual, rtol=tolerance)
            radius = np.array([1.0, 0.5, 3.0])
            y = norm.lmo(jnp.asarray(x), jnp.asarray(radius, y_dtype(dtype)))
            assert y.dtype == dtype
            assert y.shape == x.shape
            wide_y = np.asarray(y).astype(wide.dtype)
            # The oracle stays in the ball, and reaches the dual norm: together they make it the maximiser.
            sizes = np.array([definition.value(one) for one in wide_y])
            assert np.all(sizes <= radius * (1 + 8 * tolerance)), shape
            np.testing.assert_allclose(pairing(wide, wide_y), radius * dual, rtol=8 * tolerance, err_msg=str(shape))


def y_dtype(dtype):
    return np.float64 if dtype == np.float64 else np.float32


@every_norm
def test_no_random_feasible_point_does_better(name):
    definition = DEFINITIONS[name]
    rng = np.random.default_rng(1)
    for shape in shapes_of(definition, first=2):
        x = stack(shape, count=1)[0]
        best = pairing(x, np.asarray(definition.norm.lmo(jnp.asarray(x, jnp.float32))).astype(np.float64))
        gaussian = rng.normal(size=(25, *shape))
        trials = [
            *gaussian,
            *np.sign(gaussian),
            *(x + 0.3 * gaussian),
            *(gaussian * (rng.random(gaussian.shape) < 0.2)),
        ]
        trials += [np.outer(a[:, 0], b[0]) for a, b in zip(gaussian, gaussian[::-1], strict=True)] + [x, np.sign(x)]
        worth = [pairing(x, y) / definition.value(y) for y in trials if definition.value(y) > 0]
        assert max(worth) <= best * (1 + 1e-5)
        assert best > 0


@every_norm
def test_batch_equals_slices_and_jit(name):
    norm = DEFINITIONS[name].norm
    x = jnp.asarray(stack((6, 10), np.float32))[None]
    both = jax.jit(lambda x: (norm.lmo(x, 2.0), norm.value(x), norm.dual(x)))(x)
    for i in range(BATCH):
        for whole, part in zip(both, (norm.lmo(x[0, i], 2.0), norm.value(x[0, i]), norm.dual(x[0, i])), strict=True):
            np.testing.assert_allclose(whole[0, i], part, rtol=3e-6, atol=1e-6)


@every_norm
def test_declared_symmetries(name):
    norm = DEFINITIONS[name].norm
    x = jnp.asarray(stack((6, 6), np.float32))
    wide = jnp.asarray(stack((6, 9), np.float32))
    # Two decompositions of one matrix: rounding, times the largest singular value over the smallest gap that counts.
    rounding = 2e-5 if isinstance(norm, om.norms.DualKyFan) else 2e-6
    if norm.commutes_with_transpose:
        np.testing.assert_allclose(norm.lmo(wide.mT), norm.lmo(wide).mT, atol=rounding)
        np.testing.assert_allclose(norm.dual(wide.mT), norm.dual(wide), rtol=2e-6)
    if norm.commutes_with_padding:
        padded = norm.lmo(jnp.pad(x, ((0, 0), (0, 3), (0, 2))))
        np.testing.assert_allclose(padded, jnp.pad(norm.lmo(x), ((0, 0), (0, 3), (0, 2))), atol=rounding)


def test_declarations_are_not_all_false():
    assert sum(d.norm.commutes_with_transpose for d in DEFINITIONS.values()) >= 9
    assert not om.norms.Linear().commutes_with_transpose


@every_norm
def test_zero_empty_and_neighbours_of_a_broken_matrix(name):
    norm = DEFINITIONS[name].norm
    x = stack((6, 10), np.float32, count=3)
    x[1] = 0
    y = np.asarray(norm.lmo(x))
    assert not y[1].any()
    assert norm.value(x)[1] == norm.dual(x)[1] == 0
    for poison in (np.nan, np.inf):
        broken = x.copy()
        broken[2, 3, 4] = poison
        z = np.asarray(norm.lmo(broken))
        np.testing.assert_array_equal(z[:2], y[:2])
        if np.isnan(poison):
            assert np.isnan(z[2]).any(), "a NaN became a finite step"
            assert np.isnan(norm.value(broken)[2])
            assert np.isnan(norm.dual(broken)[2])
        else:
            assert not np.isfinite(norm.value(broken)[2])
            assert z[2].any(), "an infinite gradient became a silent zero"
        np.testing.assert_array_equal(norm.value(broken)[:2], norm.value(x)[:2])
    for shape in [(2, 0, 3), (0, 6, 10), (2, 3, 0)]:
        empty = jnp.zeros(shape)
        assert norm.lmo(empty).shape == shape
        assert norm.value(empty).shape == norm.dual(empty).shape == shape[:1]
        assert not norm.value(empty).any()


@every_norm
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_tiny_and_huge(name, scale):
    norm = DEFINITIONS[name].norm
    x = stack((6, 10), np.float32)
    reached = np.asarray(norm.lmo(x))
    np.testing.assert_allclose(norm.lmo(x * np.float32(scale)), reached, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(norm.value(x * np.float32(scale)), norm.value(x) * scale, rtol=2e-5)
    np.testing.assert_allclose(norm.dual(x * np.float32(scale)), norm.dual(x) * scale, rtol=2e-5)


@every_norm
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_is_measured_in_float32(name, dtype):
    norm = DEFINITIONS[name].norm
    x = jnp.asarray(stack((6, 10), np.float32)).astype(dtype)
    assert norm.value(x).dtype == norm.dual(x).dtype == jnp.float32
    np.testing.assert_array_equal(norm.value(x), norm.value(x.astype(jnp.float32)))
    y = norm.lmo(x, 0.7)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, norm.lmo(x.astype(jnp.float32), 0.7).astype(dtype))


@every_norm
def test_rank_one(name):
    definition = DEFINITIONS[name]
    x = np.outer(np.arange(1.0, 7), [1.0, -2, 3, 1]).astype(np.float32)
    y = np.asarray(definition.norm.lmo(x)).astype(np.float64)
    np.testing.assert_allclose(pairing(x, y), definition.dual(x), rtol=2e-5)
    assert definition.value(y) <= 1 + 2e-5


@every_norm
def test_integers_and_vectors_are_refused(name):
    norm = DEFINITIONS[name].norm
    for call in (norm.value, norm.dual, norm.lmo):
        with pytest.raises(TypeError, match="int32"):
            call(jnp.ones((6, 10), jnp.int32))
        with pytest.raises(ValueError, match="shape"):
            call(jnp.ones(6))


@every_norm
@pytest.mark.parametrize("radius", [0, -1.0, float("inf"), float("nan")])
def test_radius_must_be_positive(name, radius):
    with pytest.raises(ValueError, match="radius"):
        DEFINITIONS[name].norm.lmo(jnp.ones((6, 10)), radius)


def test_bad_options_raise_at_construction():
    for make in (om.norms.KyFan, om.norms.DualKyFan, om.norms.Conv, om.norms.SpectralConv):
        for number in (0, -1, 1.5):
            with pytest.raises(ValueError, match=f"whole number >= 1, not {number}"):
                make(number)
    with pytest.raises(ValueError, match="taps"):
        om.norms.Taps(om.norms.Max(), 0)
    with pytest.raises(ValueError, match="axis"):
        om.norms.AxisNorm("row")


def test_a_count_that_the_shape_forbids_is_named():
    for norm in (om.norms.KyFan(4), om.norms.DualKyFan(4)):
        with pytest.raises(ValueError, match="k = 4 exceeds the 3"):
            norm.lmo(jnp.ones((3, 5)))
    for norm in (om.norms.Taps(om.norms.Max(), 4), om.norms.Conv(4), om.norms.SpectralConv(4)):
        with pytest.raises(ValueError, match="taps = 4"):
            norm.value(jnp.ones((6, 5)))
    with pytest.raises(ValueError, match="factor"):
        om.norms.Scaled(om.norms.Max(), om.shapes.Constant(-1.0)).value(jnp.ones((6, 5)))


def test_equal_largest_entries_share_the_step():
    x = jnp.array([[2.0, -2.0], [1.0, 0.0]])
    np.testing.assert_array_equal(om.norms.L1().lmo(x, 3.0), [[1.5, -1.5], [0, 0]])


def test_an_approximate_oracle_is_reported_as_it_is():
    x = jnp.asarray(stack((6, 10), np.float32))
    jordan = om.norms.Spectral(om.linalg.NewtonSchulz(om.linalg.JORDAN_2024))
    s = jnp.linalg.svd(x, compute_uv=False)
    image = jordan.orthogonalizer.scalar(s)
    y, _, info = om.norms.Oracle(jordan, 2.0).apply(x, ())
    np.testing.assert_allclose(jordan.value(y), 2 * jnp.max(image, axis=-1), rtol=1e-5)
    np.testing.assert_allclose(info.dual, 2 * jnp.sum(s * image, axis=-1), rtol=1e-5)
    np.testing.assert_allclose(jordan.dual(x), jnp.sum(s, axis=-1), rtol=1e-5)


def test_the_page_about_norms_runs_and_its_own_norm_is_one():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "norms.md").read_text()
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    x = jnp.asarray(stack((6, 10), np.float32))
    norm = names["Columns"]()
    y = norm.lmo(x)
    np.testing.assert_allclose(norm.value(y), 1, rtol=1e-6)
    np.testing.assert_allclose(pairing(x, y), norm.dual(x), rtol=1e-6)
    grads = {"up": {"kernel": x[0]}}
    updates, _ = names["tx"].update(grads, names["tx"].init(grads))
    assert om.norms.Linear().value(updates["up"]["kernel"]) == pytest.approx(0.1, rel=0.2)
