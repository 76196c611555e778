"""Layer-wise (L0, L1) smoothness along a run (Gluon, arXiv 2505.13416).

An MLP on digits is trained by Muon on batches. At logging points the change of each layer's gradient, on one fixed
batch, over the change of its weights gives a local constant; L0 + L1 ||G||_* is fitted to it, layer by layer, in the
norm sqrt(inputs / outputs) ||.||_op of Gluon.

    python examples/paper/smoothness.py
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import images
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from paper import network
from paper.experiment import start

import optax_muon as om


def run(params: dict, x: jax.Array, y: jax.Array, steps: int, every: int, seed: int) -> list[dict]:
    """Train, and measure between logging points."""
    norm, fixed = om.norms.Linear(om.linalg.SVDPolar()), (x[:512], y[:512])
    tx = om.muon(optax.linear_schedule(0.05, 0.0, steps), shape_scale=om.shapes.Spectral())

    def step(carry, key):
        params, state = carry
        chosen = jax.random.choice(key, len(y), (120,), replace=False)
        grads = jax.grad(network.loss)(params, x[chosen], y[chosen])
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def advance(carry, key):
        before = carry[0]
        carry, _ = jax.lax.scan(step, carry, jax.random.split(key, every))
        grads, last = (jax.grad(network.loss)(p, *fixed) for p in (carry[0], before))
        sample = om.transforms.measure_smoothness(carry[0], grads, before, last, norms={"hidden": norm})
        return carry, sample

    carry, samples = (params, tx.init(params)), []
    for key in jax.random.split(jax.random.key(seed), steps // every):
        carry, sample = advance(carry, key)
        samples.append(jax.tree.map(np.asarray, sample))
    return samples


def explained(estimates: np.ndarray, fitted: np.ndarray) -> float:
    """Share of the variance that a fit explains."""
    return 1 - float(np.sum((estimates - fitted) ** 2) / np.sum((estimates - estimates.mean()) ** 2))


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    digits = images.mnist(experiment.seed)
    steps, every, sizes = (4, 2, (784, 8, 10)) if experiment.quick else (600, 10, (784, 128, 64, 10))
    data = jnp.asarray(digits.train), jnp.asarray(digits.train_labels)
    samples = run(network.create(experiment.seed, sizes), *data, steps, every, experiment.seed)
    fits, numbers = om.diagnostics.fit_layers(samples), {}
    figure = Figure(figsize=(4.5 * len(fits), 4), layout="constrained")
    for (path, fit), ax in zip(fits.items(), figure.subplots(1, len(fits)), strict=True):
        estimates, duals = (
            np.array([float(getattr(sample[path], name)[0]) for sample in samples]) for name in ("estimate", "dual")
        )
        fitted = fit.constant + fit.slope * duals
        points = ax.scatter(duals, estimates, c=np.arange(len(duals)) * every, s=14)
        line = np.linspace(0, duals.max(), 50)
        ax.plot(line, fit.constant + fit.slope * line, color="black", label=f"{fit.constant:.3g} + {fit.slope:.3g} d")
        ax.set(title=path, xlabel="dual norm d of the gradient", ylabel="local smoothness", ylim=(0, None))
        ax.legend()
        figure.colorbar(points, ax=ax, label="step")
        numbers[path] = {
            "L0": fit.constant,
            "L1": fit.slope,
            "variance explained": explained(estimates, fitted),
            "correlation of smoothness and dual norm": np.corrcoef(estimates, duals)[0, 1],
            "L1 d / L0 at the largest and smallest d": [
                float(fit.slope * d / fit.constant) if fit.constant else np.inf for d in (duals.max(), duals.min())
            ],
        }
    experiment.save(figure, numbers)


if __name__ == "__main__":
    main()
