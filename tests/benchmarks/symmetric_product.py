"""A symmetric product on one TPU chip, compiled only: the full product beside blocks of plain products.

Needs ``pip install 'jax[tpu]'`` in an environment of its own; nothing runs on a TPU. The kernel of
`optax_muon.linalg._symmetric_product` is compiled too, but the compiler gives it no estimate.
Run: python -m tests.benchmarks.symmetric_product
"""

from tests.benchmarks import ahead, cycles  # first, as it says

import jax  # isort: skip
import jax.numpy as jnp
import numpy as np

from optax_muon.linalg import BFLOAT16
from optax_muon.linalg._symmetric_product import on_tpu
from tests.benchmarks import record

SHAPE = (1024, 4096)


def blocks(x, count):
    """The block rows on and below the diagonal, mirrored."""
    m = x.shape[0]
    width = m // count
    rows = [BFLOAT16.matmul(x[i : i + width], x[: i + width].mT) for i in range(0, m, width)]
    y = jnp.concatenate([jnp.pad(row, ((0, 0), (0, m - row.shape[1]))) for row in rows])
    at = np.arange(m) // width
    return jnp.where(at[:, None] >= at, y, y.mT)


PROGRAMS = {
    "full product": BFLOAT16.gram,
    "two block rows": lambda x: blocks(x, 2),
    "four block rows": lambda x: blocks(x, 4),
    "kernel": lambda x: on_tpu(x, x, BFLOAT16.precision),
}


def row(name, function):
    """Compile one product."""
    x = ahead.on_one_chip(jax.ShapeDtypeStruct(SHAPE, jnp.bfloat16))
    cost = cycles.read(jax.jit(function).lower(x).compile().as_text())
    return {"program": name, "cycles": "-" if cost.cycles is None else cost.cycles}


if __name__ == "__main__":
    rows = [row(name, function) for name, function in PROGRAMS.items()]
    for entry in rows:
        known = isinstance(entry["cycles"], int)
        entry["of the full product"] = entry["cycles"] / rows[0]["cycles"] if known else "-"
    notes = "Bfloat16 operands, float32 sums, 1024 x 4096 by its transpose, on a v5e."
    record.write("symmetric_product", "A symmetric product on one TPU chip, compiled only", rows, notes)
