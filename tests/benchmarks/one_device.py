"""One device: update time against optax.contrib.muon, medians interleaved; temporary memory.

Run: python -m tests.benchmarks.one_device
"""

import statistics
import time

import jax
import jax.numpy as jnp
import optax

import optax_muon as om
from tests.benchmarks import models, record

JORDAN = om.linalg.JORDAN_2024


def timed(layers=12, width=256, rounds=15):
    shapes, leaves = models.gpt(layers, width)
    keys = iter(jax.random.split(jax.random.key(0), 4 * layers))
    params = jax.tree.map(lambda x: jax.random.normal(next(keys), x.shape), shapes)
    variants = {
        "optax.contrib.muon": optax.contrib.muon(0.02, weight_decay=0.0),
        "muon, default": om.muon(0.02, leaves=leaves),
        "muon, Jordan's table, best": om.muon(0.02, orthogonalizer=om.linalg.best(JORDAN), leaves=leaves),
        "muon, Jordan's table, plain": om.muon(0.02, orthogonalizer=om.linalg.NewtonSchulz(JORDAN), leaves=leaves),
    }
    programs, updates, times = {}, {}, {name: [] for name in variants}
    for name, tx in variants.items():
        state = tx.init(params)
        programs[name] = jax.jit(tx.update).lower(params, state, params).compile(), state
    for _ in range(rounds):
        for name, (program, state) in programs.items():
            start = time.perf_counter()
            updates[name] = jax.block_until_ready(program(params, state, params)[0])
            times[name].append(time.perf_counter() - start)
    peer, rows = "optax.contrib.muon", []
    for name in variants:
        pairs = zip(*(jax.tree.leaves(updates[n]) for n in (name, peer)), strict=True)
        apart = max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in pairs)
        ratios = [a / b for a, b in zip(times[name], times[peer], strict=True)]
        rows.append(
            {
                "variant": name,
                "median s": statistics.median(times[name]),
                "of optax.contrib.muon (median of paired ratios)": statistics.median(ratios),
                "update apart, relative to the largest entry": apart if "Jordan" in name else "-",
                "temp MB": programs[name][0].memory_analysis().temp_size_in_bytes / 1e6,
            }
        )
    return rows


def memory():
    params = {f"{i}": {"up": {"kernel": jax.ShapeDtypeStruct((2048, 6144), jnp.float32)}} for i in range(8)}
    plain = om.linalg.NewtonSchulz(JORDAN)
    variants = {"muon, default": om.muon(0.02), "muon, plain": om.muon(0.02, orthogonalizer=plain)}
    variants["optax.contrib.muon"] = optax.contrib.muon(0.02)
    rows = []
    for name, tx in variants.items():
        for donate in (False, True):
            analysis = models.lower(tx, params, donate).compile().memory_analysis()
            rows.append(
                {
                    "variant": name,
                    "donated": donate,
                    "temp MB": analysis.temp_size_in_bytes / 1e6,
                    "aliased MB": analysis.alias_size_in_bytes / 1e6,
                }
            )
    return rows


if __name__ == "__main__":
    record.write("one_device_memory", "8 leaves 2048 x 6144 f32: temporary memory of one update", memory())
    title = "One update of 48 f32 matrices: 12 x (256x768, 256x256, 256x1024, 1024x256)"
    record.write("one_device_time", title, timed(), "Seconds depend on the load of the machine; ratios are paired.")
