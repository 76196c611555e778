"""Five optimizers on an MLP, figure 1: SGD, Adam, and Muon with Newton-Schulz, without momentum, and with the SVD.

The paper trains 3072-512-256-64-10 on CIFAR-10. Here: digits at half the resolution, 196-128-64-32-10, so that the SVD
of every matrix at every step fits on one core. Deterministic: 100 images, full batch. Stochastic: batches of 120, loss
on the whole training set after each of five epochs. The rate is the best of the paper's grid on the first seed; SGD's
grid goes on to larger rates, and Muon with the SVD takes the rate found with Newton-Schulz, to save its time.

    python examples/paper/mlp_optimizers.py
"""

import dataclasses
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
from optax_muon.linalg import JORDAN_2024, NewtonSchulz, SVDPolar

BETA = 0.9  # of Muon and SGD in the stochastic setting; the paper's value was not found
SIZES = (196, 128, 64, 32, 10)
GRIDS = {
    "deterministic": (1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1),
    "stochastic": (1e-3, 5e-3, 1e-2, 5e-2, 1e-1),
}
ADAM_STOCHASTIC = (1e-4, 5e-4, 1e-3, 5e-3)
BEYOND = (0.5, 1.0, 2.0)  # the paper's grid ends at 0.1, and SGD's best was at that end


def muon(orthogonalizer: om.linalg.SpectralMap, beta: float) -> optax.GradientTransformation:
    """Algorithms 1 and 3: the average starts at the first gradient, no look-ahead, no shape scale."""
    return optax.chain(om.transforms.first_gradient_ema(beta), om.transforms.apply_to_matrices(orthogonalizer))


def optimizers() -> dict[str, optax.GradientTransformation]:
    """Directions without a rate; all matrices are hidden to Muon here, the last one too, as in the paper."""
    return {
        "SGD": optax.identity(),
        "Adam": optax.scale_by_adam(),
        "Muon": muon(NewtonSchulz(JORDAN_2024), BETA),
        "Muon without momentum": muon(NewtonSchulz(JORDAN_2024), 0.0),
        "Muon, SVD": muon(SVDPolar(), BETA),
    }


@dataclasses.dataclass(frozen=True)
class Setting:
    """How batches are drawn: ``batch`` images of ``x`` a step, all of them where None."""

    x: jax.Array
    y: jax.Array
    steps: int
    batch: int | None
    points: int

    def trainer(self, tx: optax.GradientTransformation):
        """Compile a run: (parameters, rate, key) -> loss on all of ``x`` at the start and after each part."""

        def step(carry, key):
            params, state, rate = carry
            x, y = self.x, self.y
            if self.batch is not None:
                chosen = jax.random.choice(key, len(y), (self.batch,), replace=False)
                x, y = x[chosen], y[chosen]
            updates, state = tx.update(jax.grad(network.loss)(params, x, y), state, params)
            return (jax.tree.map(lambda w, u: w - rate * u, params, updates), state, rate), None

        def part(carry, keys):
            carry, _ = jax.lax.scan(step, carry, keys)
            return carry, network.loss(carry[0], self.x, self.y)

        @jax.jit
        def run(params, rate, key):
            keys = jax.random.split(key, (self.points, self.steps // self.points))
            _, losses = jax.lax.scan(part, (params, tx.init(params), rate), keys)
            return jnp.concatenate([network.loss(params, self.x, self.y)[None], losses])

        return run


def compare(setting: Setting, grids: dict[str, tuple[float, ...]], sizes: tuple[int, ...], seeds: int) -> dict:
    """Tune every optimizer on the first seed, then run all seeds at its best rate; without a grid, at Muon's."""
    results: dict[str, dict] = {}
    for name, grid in grids.items():
        run = setting.trainer(optimizers()[name])

        def curve(rate, seed, run=run):
            return np.asarray(run(network.create(seed, sizes), rate, jax.random.key(seed)))

        tried = {rate: float(np.nan_to_num(curve(rate, 0)[-1], nan=np.inf)) for rate in grid}
        best = min(tried, key=tried.__getitem__) if tried else results["Muon"]["rate"]
        results[name] = {"rate": best, "tried": tried, "curves": np.stack([curve(best, seed) for seed in range(seeds)])}
    return results


def numbers(results: dict) -> dict:
    return {
        name: {
            "rate": result["rate"],
            "final loss, mean of seeds": result["curves"][:, -1].mean(),
            "standard deviation": result["curves"][:, -1].std(ddof=1) if len(result["curves"]) > 1 else 0.0,
            "first seed by rate": result["tried"],
        }
        for name, result in results.items()
    }


def draw(settings: dict[str, dict], steps: dict[str, np.ndarray]) -> Figure:
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    for (setting, results), ax in zip(settings.items(), figure.subplots(1, 2), strict=True):
        for name, result in results.items():
            mean, deviation = result["curves"].mean(axis=0), result["curves"].std(axis=0)
            ax.semilogy(steps[setting], mean, "o-", ms=3, label=f"{name}, rate {result['rate']:g}")
            ax.fill_between(steps[setting], np.maximum(mean - deviation, 1e-9), mean + deviation, alpha=0.2)
        seeds = len(results["SGD"]["curves"])
        ax.set(title=f"{setting}, {seeds} seeds", xlabel="step", ylabel="loss on the training set")
        ax.legend(fontsize=7)
    return figure


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    digits = images.mnist(experiment.seed)
    x = jnp.asarray(digits.train.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196))
    y, quick = jnp.asarray(digits.train_labels), experiment.quick
    settings = {
        "deterministic": Setting(x[:100], y[:100], 2 if quick else 60, None, 2 if quick else 20),
        "stochastic": Setting(x, y, 2 if quick else 165, 120, 1 if quick else 5),
    }
    names = ["SGD", "Muon"] if quick else list(optimizers())
    results = {}
    for kind, setting in settings.items():
        grids = {name: GRIDS[kind] for name in names}
        if not quick:
            grids |= {"SGD": GRIDS[kind] + BEYOND, "Muon, SVD": ()}
        if not quick and kind == "stochastic":
            grids["Adam"] = ADAM_STOCHASTIC
        if quick:
            grids = {name: grid[-2:] for name, grid in grids.items()}
        results[kind] = compare(setting, grids, (196, 8, 10) if quick else SIZES, 1 if quick else 5)
    steps = {kind: np.linspace(0, setting.steps, setting.points + 1) for kind, setting in settings.items()}
    experiment.save(draw(results, steps), {kind: numbers(result) for kind, result in results.items()})


if __name__ == "__main__":
    main()
