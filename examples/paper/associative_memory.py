"""Associative memory (arXiv 2603.26554): how many items one step stores.

N pairs of Gaussian embeddings u_i, v_i in R^d, item i with probability ~ i^-a. One step from zero on the population
gradient of the cross-entropy; item i is recalled when v_i^T W u_i is the largest of v_j^T W u_i. A step of any length
recalls the same items. Stabilised Muon maps singular values to s / sqrt(s^2 + l^2) with l = d^-a.

    python examples/paper/associative_memory.py
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from paper.experiment import start

from optax_muon.linalg import SoftSign, SVDPolar

METHODS = ("GD", "Muon, stabilised", "Muon, exact")


def recalled(key: jax.Array, d: int, items: int, power: float) -> dict[str, int]:
    """Count the items recalled after one step of each method."""
    u, v = jax.random.normal(key, (2, items, d)) / np.sqrt(d)
    p = jnp.arange(1, items + 1) ** -power
    p = p / jnp.sum(p)
    # Minus the gradient at zero; its spectrum spans more than float32 holds.
    descent = ((v - v.mean(axis=0)) * p[:, None]).T @ u
    steps = descent, SoftSign(d**-power).apply(descent), SVDPolar().apply(descent)

    def count(w):
        scores = (u @ w.T).astype(jnp.float32) @ v.T.astype(jnp.float32)
        return jnp.sum(jnp.argmax(scores, axis=1) == jnp.arange(items))

    return {name: int(count(w)) for name, w in zip(METHODS, steps, strict=True)}


def slopes(sizes: list[int], counts: list[float]) -> dict[str, float]:
    """Exponents in d: by least squares over all sizes, and over the last doubling."""
    x, y = np.log(sizes), np.log(counts)
    return {"least squares": float(np.polyfit(x, y, 1)[0]), "last doubling": float((y[-1] - y[-2]) / (x[-1] - x[-2]))}


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    sizes, powers, seeds = ([16, 32], [1.5], 1) if experiment.quick else ([32, 64, 128, 256], [1.25, 1.5, 2.0], 4)
    figure = Figure(figsize=(4.5 * len(powers), 4), layout="constrained")
    numbers = {}
    for power, ax in zip(powers, figure.subplots(1, len(powers), squeeze=False)[0], strict=True):
        table: dict[str, list[float]] = {name: [] for name in METHODS}
        for d in sizes:
            items = min(6000, max(2000, int(12 * d ** (1 + 1 / (2 * power))))) if not experiment.quick else 200
            keys = jax.random.split(jax.random.key(experiment.seed), seeds)
            with jax.enable_x64(True):
                counts = [recalled(key, d, items, power) for key in keys]
            for name in METHODS:
                table[name].append(float(np.mean([count[name] for count in counts])))
        for name, values in table.items():
            ax.loglog(sizes, values, "o-", label=name)
        for slope, method in ((1 + 1 / (2 * power), METHODS[1]), (1 / (2 * power), METHODS[0])):
            line = table[method][-1] * (np.array(sizes) / sizes[-1]) ** slope
            ax.loglog(sizes, line, ":", color="grey", label=f"d^{slope:.2f}, claimed")
        ax.set(title=f"item i has probability ~ i^-{power}", xlabel="d", ylabel="items recalled after one step")
        ax.set_xticks(sizes, [str(d) for d in sizes])
        ax.xaxis.minorticks_off()
        ax.legend(fontsize=7)
        numbers[f"a = {power}"] = {
            "d": sizes,
            "items recalled, mean of seeds": table,
            "Muon, stabilised / GD at the largest d": table[METHODS[1]][-1] / table[METHODS[0]][-1],
            "slope": {name: slopes(sizes, table[name]) for name in METHODS},
            "claimed slope": {"GD": 1 / (2 * power), METHODS[1]: 1 + 1 / (2 * power)},
        }
    experiment.save(figure, {"seeds": seeds, **numbers})


if __name__ == "__main__":
    main()
