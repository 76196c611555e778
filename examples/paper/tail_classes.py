"""Tail-end associative memory (arXiv 2509.26030): which classes one step learns.

K facts u_k -> v_k in R^d, d = K, orthonormal, class k with probability ~ k^-a; logits v_j^T W u_k, cross-entropy on the
population, one step from W = 0 of each method's direction. Its length is the shortest at which the head, the most
frequent quarter, is right with probability 0.9 on average; the tail is the last quarter. Adam's first step is the sign.
Embeddings are the coordinate axes, or turned at random.

    python examples/paper/tail_classes.py
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from paper.experiment import start

from optax_muon.diagnostics import stable_rank
from optax_muon.linalg import SVDPolar

METHODS = {"GD": lambda g: g, "Adam (sign)": jnp.sign, "Muon": SVDPolar().apply}


def facts(kind: str, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (K, d) of inputs and outputs."""
    if kind == "axes":
        return np.eye(size), np.eye(size)[rng.permutation(size)]
    u, v = (np.linalg.qr(rng.normal(size=(size, size)))[0] for _ in range(2))
    return u, v


def right(scores: np.ndarray, length: float) -> np.ndarray:
    """Probability of the right class for every fact, after a step of a length."""
    x = length * (scores - scores.max(axis=1, keepdims=True))
    return np.exp(np.diag(x)) / np.exp(x).sum(axis=1)


def measured(kind: str, size: int, power: float, seed: int) -> dict[str, tuple[np.ndarray, float]]:
    """Probabilities of the right class, and the step's stable rank, by method."""
    u, v = facts(kind, size, np.random.default_rng(seed))
    p = np.arange(1, size + 1.0) ** -power
    p = p / p.sum()
    descent = ((v - v.mean(axis=0)) * p[:, None]).T @ u
    found = {}
    for name, f in METHODS.items():
        step = np.asarray(f(jnp.asarray(descent)))
        scores = u @ step.T @ v.T
        lengths = np.geomspace(1, 1e4, 150) / np.abs(scores).max()
        head = [right(scores, x)[: size // 4].mean() for x in lengths]
        reached = np.flatnonzero(np.array(head) >= 0.9)
        # A step that never gets there is shown at its best.
        at = lengths[reached[0] if reached.size else int(np.argmax(head))]
        found[name] = (right(scores, at), float(stable_rank(jnp.asarray(step))))
    return found


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    size, powers, seeds = (16, [1.0], 1) if experiment.quick else (96, [0.5, 1.0, 1.5], 2)
    figure = Figure(figsize=(11, 4), layout="constrained")
    numbers: dict = {}
    with jax.enable_x64(True):
        for kind, ax in zip(("axes", "turned"), figure.subplots(1, 2, sharey=True), strict=True):
            for power in powers:
                runs = [measured(kind, size, power, experiment.seed + i) for i in range(seeds)]
                rows = {}
                for name in METHODS:
                    probabilities = np.mean([run[name][0] for run in runs], axis=0)
                    rows[name] = {
                        "head": probabilities[: size // 4].mean(),
                        "tail": probabilities[-(size // 4) :].mean(),
                        "worst": np.mean([run[name][0].min() for run in runs]),
                        "stable rank of the step": np.mean([run[name][1] for run in runs]),
                    }
                    if power == 1.0:
                        ax.plot(np.arange(1, size + 1), probabilities, label=name)
                numbers[f"{kind}, a = {power:g}"] = rows
            ax.set(
                title=f"embeddings: {kind}, a = 1", xlabel="class, by frequency", ylabel="probability of the right one"
            )
            ax.set_xscale("log")
            ax.legend()
    experiment.save(figure, {"classes": size, "seeds": seeds, **numbers})


if __name__ == "__main__":
    main()
