"""One device: update time against torch.optim.Muon and optax.contrib.muon, medians interleaved in one process.

Needs ``pip install torch`` beside the package. Run: python -m tests.benchmarks.torch_muon
"""

import statistics
import time

import jax
import numpy as np
import optax
import torch

import optax_muon as om
from tests.benchmarks import models, record

TABLES = om.linalg
SETTINGS = {
    "muon, default": om.linalg.best(),
    "muon, best(JORDAN_2024)": om.linalg.best(TABLES.JORDAN_2024),
    "muon, best(CUBIC_2026)": om.linalg.best(TABLES.CUBIC_2026),
    "muon, best(TURBO_MUON_2025)": om.linalg.best(TABLES.TURBO_MUON_2025),
    "muon, best(CUBIC_2026), Schatten-4": om.linalg.best(TABLES.CUBIC_2026, normalize=om.linalg.Schatten4()),
    "muon, best(CUBIC_2026.first(4)), Schatten-4": om.linalg.best(
        TABLES.CUBIC_2026.first(4), normalize=om.linalg.Schatten4()
    ),
}


def jax_step(tx, params, grads):
    """One donated update; what it returns is kept for the next call, as in a training loop."""
    state = tx.init(params)
    program = jax.jit(tx.update, donate_argnums=1).lower(grads, state, params).compile()
    held = [state]

    def step():
        updates, held[0] = program(grads, held[0], params)
        jax.block_until_ready(updates)

    return step


def torch_step(params, grads):
    tensors = [torch.nn.Parameter(torch.tensor(np.asarray(x).T.copy())) for x in jax.tree.leaves(params)]
    for tensor, grad in zip(tensors, jax.tree.leaves(grads), strict=True):
        tensor.grad = torch.tensor(np.asarray(grad).T.copy())
    return torch.optim.Muon(tensors, lr=0.02, weight_decay=0.0).step


def timed(layers=12, width=256, rounds=25):
    shapes, leaves = models.gpt(layers, width)
    rng = np.random.default_rng(0)
    params, grads = (
        jax.tree.map(lambda x: jax.numpy.asarray(rng.normal(size=x.shape), "float32"), shapes) for _ in "pg"
    )
    steps = {"torch.optim.Muon": torch_step(params, grads)}
    steps["optax.contrib.muon"] = jax_step(optax.contrib.muon(0.02, weight_decay=0.0), params, grads)
    for name, op in SETTINGS.items():
        steps[name] = jax_step(om.muon(0.02, orthogonalizer=op, leaves=leaves), params, grads)
    times = {name: [] for name in steps}
    for round_ in range(rounds + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if round_ > 1:
                times[name].append(time.perf_counter() - start)
    peer = times["torch.optim.Muon"]
    return [
        {
            "program": name,
            "median ms": 1e3 * statistics.median(values),
            "of torch.optim.Muon (median of paired ratios)": statistics.median(
                a / b for a, b in zip(values, peer, strict=True)
            ),
        }
        for name, values in times.items()
    ]


if __name__ == "__main__":
    title = "One update of 48 f32 matrices: 12 x (256x768, 256x256, 256x1024, 1024x256), beside torch"
    notes = (
        f"torch {torch.__version__}, which iterates in bfloat16; ours in float32. {torch.get_num_threads()} threads."
    )
    record.write("torch_muon", title, timed(), notes)
