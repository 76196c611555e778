"""How long JAX takes to trace one update, of a large tree and of a model, in this checkout and in another.

``python -m tests.benchmarks.tracing --beside DIR`` runs both in turn, each time in a fresh process, and prints the
medians of the processors' seconds: other work on the machine then counts for less.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

SHAPES = {"q_proj": (64, 64), "up_proj": (64, 256), "down_proj": (256, 64)}
TREES = {"large": 5000, "model": 48}  # kernels


def seconds(kernels: int) -> float:
    """Trace init and update of `muon` on so many kernels, named as a model names them."""
    import jax
    import jax.numpy as jnp

    import optax_muon as om

    names = list(SHAPES)
    params = {
        f"layer_{i}": {names[i % 3]: {"kernel": jax.ShapeDtypeStruct(SHAPES[names[i % 3]], jnp.float32)}}
        for i in range(kernels)
    }
    tx = om.muon(0.02)
    # What JAX itself needs once, and would count for the first tree.
    jax.make_jaxpr(lambda x: tx.update(x, tx.init(x), x))({"up_proj": {"kernel": jnp.ones((2, 3))}})
    start = time.process_time()
    jax.make_jaxpr(lambda x: tx.update(x, tx.init(x), x))(params)
    return time.process_time() - start


def main() -> None:
    """Print the medians of both checkouts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beside", default=".", help="another checkout")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kernels", type=int, help="print the seconds of one trace in this process")
    args = parser.parse_args()
    if args.kernels:
        print(seconds(args.kernels))
        return
    for tree, kernels in TREES.items():
        found: dict[str, list[float]] = {}
        for _ in range(args.repeats):
            for checkout in (".", args.beside):
                environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.path.abspath(checkout)}
                command = [sys.executable, __file__, "--kernels", str(kernels)]
                output = subprocess.run(command, env=environment, check=True, capture_output=True).stdout
                found.setdefault(checkout, []).append(float(output))
        medians = {checkout: f"{statistics.median(times):.3f} s" for checkout, times in found.items()}
        print(f"{tree}, {kernels} kernels:", medians)


if __name__ == "__main__":
    main()
