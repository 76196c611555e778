"""What one of eight workers sends in a step, read from the compiled program: docs/records/worker_bytes.

Run: python -m tests.benchmarks.worker_bytes
"""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon import transforms, workers
from tests.benchmarks.census import census
from tests.benchmarks.record import write

N, SIDE, AXIS, RANK = 8, 256, "workers", 16
PERIOD = 30
WHOLE = 4 * SIDE * SIDE  # bytes of one float32 matrix
UP = {"axis_name": AXIS, "momentum": 0.9}
METHODS = {
    "Muon, data-parallel": (
        lambda: optax.chain(workers.average_over(AXIS), om.muon(0.02, leaves=workers.own_matrices(None, AXIS))),
        1,
    ),
    "`sign_muon`": (lambda: om.sign_muon(1e-3, axis_name=AXIS), 1),
    "`ef21_muon`, a tenth of the entries": (lambda: om.ef21_muon(0.02, **UP), 1),
    "`ef21_muon`, rank 16": (lambda: om.ef21_muon(0.02, compressor_up=transforms.low_rank(RANK), **UP), 1),
    "`ef21_muon`, signs": (lambda: om.ef21_muon(0.02, compressor_up=transforms.scale_by_mean_sign(), **UP), 1),
    "`ef21_muon`, a tenth at random": (lambda: om.ef21_muon(0.02, compressor_up=transforms.random_k(0.1), **UP), 1),
    "`demuon`, ring": (lambda: om.demuon(0.02, axis_name=AXIS), 1),
    "`suda_muon`, ring, ED": (lambda: om.suda_muon(0.02, axis_name=AXIS), 1),
    "`muloco`, every 30 steps": (lambda: om.muloco(0.02, period=PERIOD, axis_name=AXIS), PERIOD),
    "`loscar`, half, every 30 steps": (
        lambda: om.loscar(0.02, optax.ema(0.9, debias=False), period=PERIOD, axis_name=AXIS),
        PERIOD,
    ),
}


def compiled(tx, side=SIDE):
    """Compile one update of eight workers with one matrix each."""
    mesh = jax.make_mesh((N,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:N])
    tx = optax.with_extra_args_support(tx)

    def one(x, g):
        tree = {"up": {"kernel": x[0]}}
        updates, state = tx.update({"up": {"kernel": g[0]}}, tx.init(tree), tree)
        return jax.tree.map(lambda x: x[None], (updates, state))

    x = jax.ShapeDtypeStruct((N, side, side), jnp.float32)
    return jax.jit(jax.shard_map(one, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS))).lower(x, x).compile()


def sent(collectives) -> float:
    """Bytes that one worker sends on a ring of all of them."""
    share = (N - 1) / N
    ways = {"all-gather": share, "all-reduce": 2 * share, "collective-permute": 1.0}
    return sum(ways[kind] * size for kind, (_, size) in collectives.items())


def rows():
    for name, (make, period) in METHODS.items():
        found = census(compiled(make())).collectives
        each = sent(found) / period
        kinds = ", ".join(f"{number} {kind}" for kind, (number, _) in sorted(found.items()))
        yield {
            "method": name,
            "collectives": kinds,
            "bytes a step": round(each),
            "share": round(each / (1.75 * WHOLE), 4),
        }
    # Dion's two factors, all-reduced, by its own formula: its exchange is not in the library.
    dion = 1.75 * 4 * 2 * SIDE * RANK
    yield {"method": "Dion's factors, rank 16, by formula", "collectives": "2 all-reduce", "bytes a step": round(dion),
           "share": round(dion / (1.75 * WHOLE), 4)}  # fmt: skip


if __name__ == "__main__":
    write("worker_bytes", "Bytes that one of eight workers sends in a step, one float32 matrix 256 x 256", list(rows()))
