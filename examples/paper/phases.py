"""Phases of Muon (arXiv 2605.09552): SignSVD and SignSGD on least squares with a power-law covariance.

Our model, the paper's settings were not found: y = x_out^T W* x_in, half the squared error, x_in ~ N(0, K) with
K = Q diag(j^-alpha) Q^T for a random rotation Q, x_out ~ N(0, I); column j of W* in K's basis has the size j^-beta. No
momentum. First the drift: E[step] = (W - W*) K^p, with p measured mode by mode. Then the risk after a linear decay of
the best rate of a grid, for pairs of alpha and beta.

    python examples/paper/phases.py
"""

import functools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure
from paper.experiment import start

from optax_muon.linalg import SVDPolar

STEPS = {"SignSVD": SVDPolar().apply, "SignSGD": jnp.sign}
RATES = np.geomspace(2.0**-11, 1.0, 12)
ALPHAS, BETAS = (0.0, 0.5, 1.0, 1.5), (0.0, 0.5, 1.0, 2.0)


def rotation(rng: np.random.Generator, d: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def gradient(key: Array, error: Array, root: Array, batch: int) -> Array:
    """Average over a batch, given W - W*."""
    d = root.shape[0]
    x_in, x_out = jax.random.normal(key, (2, batch, d))
    x_in = x_in @ root
    residual = jnp.sum((x_out @ error) * x_in, axis=1)
    return (x_out * residual[:, None]).T @ x_in / batch


def drift(batch: int, d: int, draws: int, seed: int) -> dict[str, list[float]]:
    """Exponents p among the first quarter of modes and the last half, at alpha = 1."""
    rng = np.random.default_rng(seed)
    turn, eigenvalues = rotation(rng, d), np.arange(1, d + 1) ** -1.0
    error, root = jnp.asarray(rng.normal(size=(d, d))), jnp.asarray(turn * eigenvalues**0.5 @ turn.T)
    grads = jax.lax.map(lambda key: gradient(key, error, root, batch), jax.random.split(jax.random.key(seed), draws))
    found = {}
    for name, f in STEPS.items():
        mean = jnp.mean(jax.lax.map(f, grads), axis=0)
        # What is kept of the error's own part along each mode.
        kept = np.sum(np.asarray(mean @ turn) * np.asarray(error @ turn), axis=0)
        kept = kept / np.sum(np.asarray(error @ turn) ** 2, axis=0)
        found[name] = [slope(eigenvalues[part], kept[part]) for part in (slice(0, d // 4), slice(d // 2, d))]
    return found


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Exponent by least squares, of what is positive."""
    seen = y > 0
    return float(np.polyfit(np.log(x[seen]), np.log(y[seen]), 1)[0])


@functools.partial(jax.jit, static_argnames=("name", "batch"))
def final_risks(rates: Array, root: Array, target: Array, keys: Array, *, name: str, batch: int) -> Array:
    """Risk after a linear decay of every rate, over the first risk."""

    def step(errors, at):
        k, key = at
        grads = jax.vmap(lambda error: gradient(key, error, root, batch))(errors)
        return errors - (rates * (1 - k / len(keys)))[:, None, None] * STEPS[name](grads), None

    first = jnp.broadcast_to(-target, (len(rates), *target.shape))
    errors, _ = jax.lax.scan(step, first, (jnp.arange(len(keys)), keys))
    return jnp.sum((errors @ root) ** 2, axis=(1, 2)) / jnp.sum((target @ root) ** 2)


def risks(alpha: float, beta: float, d: int, batch: int, steps: int, seed: int) -> dict[str, tuple[float, float]]:
    """Best final risk over the first one, and its rate."""
    rng = np.random.default_rng(seed)
    turn, modes = rotation(rng, d), np.arange(1, d + 1.0)
    root = jnp.asarray(turn * modes ** (-alpha / 2) @ turn.T)
    target = jnp.asarray(rng.normal(size=(d, d)) * modes**-beta @ turn.T)
    keys = jax.random.split(jax.random.key(seed), steps)
    found = {}
    for name in STEPS:
        final = np.asarray(final_risks(jnp.asarray(RATES), root, target, keys, name=name, batch=batch))
        best = int(np.nanargmin(final))
        found[name] = (float(final[best]), float(RATES[best]))
    return found


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    d, batch, steps = (8, 32, 20) if experiment.quick else (24, 96, 300)
    wide, draws = (16, 10) if experiment.quick else (64, 600)
    batches = [wide, 4 * wide, 16 * wide]
    alphas, betas = ((0.0, 1.0), (0.0,)) if experiment.quick else (ALPHAS, BETAS)
    with jax.enable_x64(True):
        exponents = {size: drift(size, wide, draws, experiment.seed) for size in batches}
        table = {(a, b): risks(a, b, d, batch, steps, experiment.seed) for a in alphas for b in betas}
    ratio = np.array([[table[a, b]["SignSGD"][0] / table[a, b]["SignSVD"][0] for a in alphas] for b in betas])
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, color in zip(STEPS, ("tab:blue", "tab:orange"), strict=True):
        # SignSGD's drift in the tail is below the noise of so many draws.
        for part, style in ((0, "o-"), (1, "s:"))[: 2 if name == "SignSVD" else 1]:
            values = [exponents[size][name][part] for size in batches]
            left.semilogx(batches, values, style, color=color, label=f"{name}, {('head', 'tail')[part]}")
    for value, text in ((0.5, "square root"), (1.0, "none")):
        left.axhline(value, color="grey", lw=0.7)
        left.text(batches[1], value + 0.02, f"preconditioning: {text}", color="grey", fontsize=8)
    left.set(title=f"drift (W - W*) K^p, d = {wide}, alpha = 1", xlabel="batch", ylabel="p", ylim=(0, 1.3))
    left.legend(fontsize=8)
    limit = max(1.0, float(np.abs(np.log10(ratio)).max()))
    image = right.imshow(np.log10(ratio), cmap="RdBu", vmin=-limit, vmax=limit, origin="lower", aspect="auto")
    for (i, j), value in np.ndenumerate(ratio):
        right.text(j, i, f"{value:.2g}", ha="center", va="center", color="white" if value > 20 else "black")
    right.set_xticks(range(len(alphas)), [str(a) for a in alphas])
    right.set_yticks(range(len(betas)), [str(b) for b in betas])
    right.set(title="final risk, SignSGD over SignSVD, rates tuned", xlabel="alpha, of the data", ylabel="beta, of W*")
    figure.colorbar(image, label="log10")
    experiment.save(
        figure,
        {
            "drift exponent by batch: head, tail": exponents,
            "final risk and its rate by (alpha, beta)": {f"{a:g}, {b:g}": x for (a, b), x in table.items()},
            "SignSGD / SignSVD, rows beta, columns alpha": ratio,
            "rates": [RATES[0], RATES[-1]],
        },
    )


if __name__ == "__main__":
    main()
