"""Half of a symmetric product: the kernels are run as Python on a CPU, and compiled for what is not there."""

import contextlib
import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_muon import linalg
from optax_muon.linalg._symmetric_product import on_gpu, on_tpu, symmetric_product

HIGHEST, DEFAULT = jax.lax.Precision.HIGHEST, jax.lax.Precision.DEFAULT
HALVED = dataclasses.replace(linalg.BFLOAT16, halve_symmetric=True)
KERNELS = {
    "tpu": lambda a, b, p: on_tpu(a, b, p, tile=16, panel=8, interpret=True),
    "gpu": lambda a, b, p: on_gpu(a, b, p, tile=16, depth=8, interpret=True),
}


def random(shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


def relative(y, expected):
    assert y.shape == expected.shape
    assert y.dtype == jnp.float32
    return float(np.abs(np.asarray(y) - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_equals_the_full_product(kernel, dtype):
    """Several tiles and one, whole and odd sides, with and without a batch; and exactly symmetric."""
    for shape in [(16, 16), (37, 21), (2, 3, 24, 40)]:
        x = random(shape, dtype)
        y = KERNELS[kernel](x, x, HIGHEST)
        wide = np.asarray(x, np.float64)
        assert relative(y, wide @ wide.swapaxes(-1, -2)) <= 1e-6
        np.testing.assert_array_equal(y, y.mT)


@pytest.mark.parametrize("kernel", KERNELS)
def test_two_matrices_that_commute(kernel):
    x = random((40, 40))
    a = np.asarray(x + x.T, np.float64)
    b = a @ a - 3 * a
    y = KERNELS[kernel](jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32), HIGHEST)
    assert relative(y, a @ b) <= 1e-6


def test_derivatives_and_vmap_are_those_of_the_product():
    x, dx = random((2, 9, 17)), random((2, 9, 17)) ** 2

    def halved(x):
        return symmetric_product(x, x, HIGHEST)

    full = linalg.FLOAT32.gram
    for got, expected in zip(jax.jvp(halved, (x,), (dx,)), jax.jvp(full, (x,), (dx,)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        jax.grad(lambda x: (halved(x) ** 3).sum())(x), jax.grad(lambda x: (full(x) ** 3).sum())(x), rtol=1e-4
    )
    np.testing.assert_allclose(jax.vmap(halved)(x), full(x), rtol=1e-5, atol=1e-5)


def there(platform):
    """Name a GPU that is not there: newer versions of JAX lower Triton for a kind of it."""
    if platform != "cuda":
        return contextlib.nullcontext()
    gpu = jax.sharding.AbstractDevice(device_kind="NVIDIA H100", num_cores=None, platform="gpu")
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("x",), abstract_device=gpu))


def kernels(shape, platform, arithmetic):
    """Count the kernels of one orthogonalisation in a program that is lowered for a platform."""
    op, x = linalg.NewtonSchulz(arithmetic=arithmetic), jax.ShapeDtypeStruct(shape, jnp.float32)
    with there(platform):
        text = jax.jit(op.apply).trace(x).lower(lowering_platforms=(platform,)).as_text()
    return sum(name in line for line in text.splitlines() for name in ("@tpu_custom_call", "@__gpu$xla.gpu.triton"))


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_programs_for_tpus_and_gpus_hold_it_where_it_is_asked_for(platform):
    # Five steps, of which each has its Gram matrix and its square.
    assert kernels((1024, 1152), platform, HALVED) == 10
    assert kernels((1024, 1152), platform, linalg.BFLOAT16) == 0
    # Short sides, and sides that its tiles do not divide.
    for shape in ((896, 4096), (1100, 4096), (1408, 2048)):
        assert kernels(shape, platform, HALVED) == 0


def test_a_cpu_computes_the_full_product(monkeypatch):
    assert kernels((1024, 1024), "cpu", HALVED) == 0
    monkeypatch.setattr("optax_muon.linalg._arithmetic.halves", lambda x: True)
    x, halved = random((2, 6, 10)), dataclasses.replace(linalg.FLOAT32, halve_symmetric=True)
    for op in (linalg.NewtonSchulz, linalg.GramNewtonSchulz):
        np.testing.assert_allclose(op(arithmetic=halved).apply(x), op().apply(x), atol=1e-5)


def test_a_mesh_that_a_partitioner_divides_takes_the_full_product():
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    x = jax.ShapeDtypeStruct((1024, 1024), jnp.bfloat16)
    with jax.set_mesh(mesh):
        assert "pallas" not in str(jax.make_jaxpr(HALVED.gram)(x))
        inside = jax.shard_map(HALVED.gram, in_specs=jax.P(), out_specs=jax.P())
        assert "pallas" in str(jax.make_jaxpr(inside)(x))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs jax[tpu]")
@pytest.mark.parametrize(("shape", "dtype"), [((1024, 4096), jnp.bfloat16), ((2, 1500, 2000), jnp.bfloat16)])
def test_it_compiles_for_a_tpu(shape, dtype):
    from tests.benchmarks import ahead  # it finds the TPU's compiler

    x = ahead.on_one_chip(jax.ShapeDtypeStruct(shape, dtype))
    text = jax.jit(lambda x: symmetric_product(x, x, DEFAULT)).lower(x).compile()
    assert "tpu_custom_call" in text.as_text()
