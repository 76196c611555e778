"""One GPU: rate of the iteration on a (48, 1024, 4096) stack, and step time against optax.contrib.muon and torch.

Not run yet: no machine with a GPU was at hand when it was written.
Run: python -m tests.benchmarks.gpu
"""

import importlib.util
import statistics
import time

import jax
import jax.numpy as jnp
import optax

import optax_muon as om
from tests.benchmarks import models, record


def seconds(function, *args, rounds=10):
    program = jax.jit(function).lower(*args).compile()
    jax.block_until_ready(program(*args))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(program(*args))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def rates():
    a = jax.random.normal(jax.random.key(0), (8192, 8192), jnp.bfloat16)
    peak = 2 * 8192**3 / seconds(jnp.matmul, a, a)
    x = jax.random.normal(jax.random.key(1), (48, 1024, 4096), jnp.bfloat16)
    rows = []
    for name, op in {
        "plain, bf16": om.linalg.NewtonSchulz(arithmetic=om.linalg.BFLOAT16),
        "best, f16": om.linalg.best(arithmetic=om.linalg.FLOAT16),
        "best, bf16": om.linalg.best(arithmetic=om.linalg.BFLOAT16),
    }.items():
        tx = om.transforms.apply_to_matrices(op, leaves={"w": om.Leaf("hidden", 1, 2)})
        taken = seconds(lambda x, tx=tx: tx.update({"w": x}, tx.init({"w": x}))[0], x)
        rate = 48 * op.flops(1024, 4096) / taken
        rows.append({"map": name, "seconds": taken, "TFLOP/s": rate / 1e12, "of bf16 product": rate / peak})
    return rows


def errors():
    """Part A4's rule on real arithmetic: a spike over a flat bulk, the largest singular value of the result."""
    u, _, v = jnp.linalg.svd(jax.random.normal(jax.random.key(2), (1024, 1024)), full_matrices=False)
    rows = []
    for bulk in (0.1, 0.03, 0.0):
        x = (u * jnp.full(1024, bulk).at[0].set(1.0)) @ v
        for name, arithmetic in {
            "bf16": om.linalg.BFLOAT16, "f16": om.linalg.FLOAT16,
            "f32 at HIGH (TF32)": om.linalg.Arithmetic(precision=jax.lax.Precision.HIGH), "f32": om.linalg.FLOAT32,
        }.items():  # fmt: skip
            wide = jnp.concatenate([x, x], axis=1)
            top = jnp.linalg.norm(om.linalg.GramNewtonSchulz(arithmetic=arithmetic).apply(wide), 2)
            rows.append({"bulk": bulk, "arithmetic": name, "largest singular value": float(top)})
    return rows


def steps(layers=12, width=1024):
    shapes, leaves = models.gpt(layers, width)
    params = jax.tree.map(lambda x: jax.random.normal(jax.random.key(0), x.shape), shapes)
    rows = []
    for name, tx in {
        "optax.contrib.muon": optax.contrib.muon(0.02),
        "muon, default": om.muon(0.02, leaves=leaves),
        "muon, bf16": om.muon(0.02, orthogonalizer=om.linalg.best(arithmetic=om.linalg.BFLOAT16), leaves=leaves),
    }.items():
        rows.append({"optimizer": name, "seconds": seconds(tx.update, params, tx.init(params), params)})
    if importlib.util.find_spec("torch"):
        rows.append({"optimizer": "torch.optim.Muon", "seconds": torch_step(jax.tree.leaves(shapes))})
    return rows


def torch_step(shapes, rounds=10):
    import torch  # pyright: ignore[reportMissingImports]

    params = [torch.nn.Parameter(torch.randn(x.shape, device="cuda")) for x in shapes]
    for p in params:
        p.grad = torch.randn_like(p)
    optimizer, times = torch.optim.Muon(params), []
    for _ in range(rounds + 2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        optimizer.step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


if __name__ == "__main__":
    device = jax.devices()[0]
    assert device.platform == "gpu", f"needs a GPU, not {device}"
    record.write("gpu_rate", f"(48, 1024, 4096) on {device.device_kind}", rates())
    record.write("gpu_restarts", f"Gram iteration, spike over bulk, on {device.device_kind}", errors())
    record.write("gpu_step", f"One update, 12 layers of width 1024, on {device.device_kind}", steps())
