"""Compile time: against optax.contrib.muon, and how it grows with depth. CPU seconds, best of three.

Run: python -m tests.benchmarks.compile_time
"""

import gc
import time

import jax
import optax

import optax_muon as om
from tests.benchmarks import models, record


class Identity(om.linalg.SpectralMap):
    """A map that does nothing: what remains is the price of the chain and of cutting and joining."""

    def apply(self, x):
        return x

    def scalar(self, s):
        return s


def seconds(make, layers, width, rounds=3):
    best = float("inf")
    for _ in range(rounds):
        jax.clear_caches()
        gc.collect()
        params, leaves = models.gpt(layers, width)
        start = time.process_time()
        models.lower(make(leaves), params).compile()
        best = min(best, time.process_time() - start)
    return best


if __name__ == "__main__":
    width = 256
    peer = seconds(lambda _: optax.contrib.muon(0.02), 48, width)
    rows = [
        {"program": "optax.contrib.muon", "layers": 48, "CPU s": peer, "of optax.contrib.muon": 1.0, "map alone": "-"}
    ]
    for layers in (48, 96):
        nothing = seconds(lambda leaves: om.muon(0.02, orthogonalizer=Identity(), leaves=leaves), layers, width)
        for name, op in {"default": om.linalg.best(), "plain": om.linalg.NewtonSchulz()}.items():
            ours = seconds(lambda leaves, op=op: om.muon(0.02, orthogonalizer=op, leaves=leaves), layers, width)
            row = {"program": f"muon, {name}", "layers": layers, "CPU s": ours, "of optax.contrib.muon": ours / peer}
            rows.append(row | {"map alone": ours - nothing})
    record.write("compile_time", "Trace and compile one update, d 256, 4 matrices per layer", rows)
