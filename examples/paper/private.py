"""Private steps: what noise does to an orthogonaliser, what a correction takes off, and digits at growing noise.

The bias is that of dp_muon's polynomials on one momentum of length 1 with white noise added. The digits are learnt by
an MLP without biases, 196-32-10, from per-example gradients that are clipped matrix by matrix and noised; batches are a
fixed cut of the images, each used once an epoch, so that the privacy that is spent is known exactly.

    python examples/paper/private.py
"""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from images import mnist
from matplotlib.figure import Figure
from paper import network
from paper.experiment import start

import optax_muon as om

SIZES = (196, 32, 10)
LEAVES = {f"w{i}": {"kernel": om.Leaf("hidden", reduction=0, output=1)} for i in (1, 2)}
CLIP, BATCH, DELTA = 0.5, 250, 1e-5
DEVIATIONS = (0.02, 0.05, 0.1, 0.2)  # of the noise in an entry of the momentum
NOISES = (0.5, 2.0, 8.0)  # multipliers; a step as a whole
ITERATION = om.linalg.NewtonSchulz(om.linalg.taylor_coefficients(2, 5))
RATES = {
    "SGD": (0.1, 0.4, 1.6, 6.4),
    "Adam": (0.001, 0.004, 0.016, 0.064),
    "DP-Muon": (0.01, 0.04, 0.16, 0.64),
    "DP-MuonBC": (0.01, 0.04, 0.16, 0.64),
}


def bias(shape: tuple[int, int], draws: int, seed: int) -> dict[float, dict[str, float]]:
    """Lengths of the mean error by the noise's deviation; what the true momentum is mapped to is right."""
    rng = np.random.default_rng(seed)
    momentum = rng.normal(size=shape)
    momentum = jnp.asarray(momentum / np.linalg.norm(momentum))
    truth = ITERATION.apply(momentum)
    found = {}
    for s in DEVIATIONS:
        corrected = om.linalg.HeatCorrected(ITERATION, s)

        def outputs(key, s=s, corrected=corrected):
            noisy = momentum + s * jax.random.normal(key, (draws // 8, *shape))
            keys = jax.random.split(jax.random.fold_in(key, 1), draws // 8)
            better, _, _ = corrected.apply(noisy, corrected.init(noisy.shape, noisy.dtype), key=keys)
            return tuple((jnp.sum(y, 0), jnp.sum(y**2, 0)) for y in (noisy, ITERATION.apply(noisy), better))

        sums = jax.jit(lambda keys, outputs=outputs: jax.lax.map(outputs, keys))(
            jax.random.split(jax.random.key(seed), 8)
        )
        row = {}
        for name, (first, second), right in zip(
            ("momentum", "plain", "corrected"), sums, (momentum, truth, truth), strict=True
        ):
            mean = np.asarray(first).sum(0) / draws
            spread = np.asarray(second).sum(0) / draws - mean**2
            row[f"bias, {name}"] = float(np.linalg.norm(mean - right))
            row[f"of it chance, {name}"] = float(np.sqrt(spread.sum() / draws))
            row[f"spread, {name}"] = float(np.sqrt(spread.sum()))
        found[s] = row
    return found


def optimizer(name: str, rate: Any, steps: int, noise: float) -> optax.GradientTransformation:
    """Build a method behind the private mean; its rate falls to zero."""
    falling = optax.linear_schedule(rate, 0.0, steps)
    if name == "SGD":
        return optax.sgd(falling, momentum=0.9)
    if name == "Adam":
        return optax.adam(falling)
    if name == "DP-Muon":
        return om.dp_muon(falling, leaves=LEAVES)
    shapes = {f"w{i + 1}": {"kernel": jnp.zeros(s)} for i, s in enumerate(zip(SIZES[:-1], SIZES[1:], strict=True))}
    sizes = om.transforms.noise_deviations(shapes, CLIP, noise, batch_size=BATCH, leaves=LEAVES)
    return om.dp_muon(falling, noise_deviation=sizes["w1/kernel"], probes=2, leaves=LEAVES)


def train(name: str, noise: float, data: tuple, epochs: int, seeds: int) -> Callable:
    """Give training loss and test accuracy, a mean over seeds, as a function of the rate."""
    x, y, test_x, test_y = data
    cut = len(x) // BATCH
    batches = x[: cut * BATCH].reshape(cut, BATCH, -1), y[: cut * BATCH].reshape(cut, BATCH)
    per_example = jax.vmap(jax.grad(lambda p, x, y: network.loss(p, x[None], y[None])), (None, 0, 0))
    first = network.create(0, SIZES)

    def run(rate, seed):
        private = om.transforms.private_mean(CLIP, noise, seed, leaves=LEAVES)
        tx = optax.chain(private, optimizer(name, rate, epochs * cut, noise))

        def step(carry, batch):
            params, state = carry
            updates, state = tx.update(per_example(params, *batch), state, params)
            return (jax.tree.map(jnp.add, params, updates), state), None

        carry = (first, tx.init(first))
        carry, _ = jax.lax.scan(lambda c, _: (jax.lax.scan(step, c, batches)[0], None), carry, None, epochs)
        scores = jnp.maximum(test_x @ carry[0]["w1"]["kernel"], 0) @ carry[0]["w2"]["kernel"]
        return network.loss(carry[0], x, y), jnp.mean(jnp.argmax(scores, 1) == test_y)

    def both(rate):
        return jax.tree.map(jnp.mean, jax.lax.map(lambda seed: run(rate, seed), jnp.arange(seeds)))

    return jax.jit(lambda rates: jax.lax.map(both, rates))


def digits(epochs: int, seeds: int, seed: int, quick: bool) -> dict[str, dict[float, dict[str, float]]]:
    """Best of all rates by training loss, by method and noise."""
    images = mnist(seed)
    halve = lambda p: jnp.asarray(p.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196))  # noqa: E731
    data = halve(images.train), jnp.asarray(images.train_labels), halve(images.test), jnp.asarray(images.test_labels)
    if quick:
        data = data[0][:BATCH], data[1][:BATCH], *data[2:]
    found: dict[str, dict[float, dict[str, float]]] = {}
    for name, rates in RATES.items():
        for noise in NOISES[:1] if quick else NOISES:
            losses, accuracies = (np.asarray(v) for v in train(name, noise, data, epochs, seeds)(jnp.array(rates)))
            best = int(np.nanargmin(losses))
            row = {"accuracy": float(accuracies[best]), "loss": float(losses[best]), "rate": rates[best]}
            found.setdefault(name, {})[noise] = row
            print(name, noise, row, flush=True)
    return found


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    quick, seed = experiment.quick, experiment.seed
    with jax.enable_x64(True):
        biases = {f"{m} x {n}": bias((m, n), 64 if quick else 8192, seed) for m, n in [(4, 6), (12, 16)][: 2 - quick]}
    epochs = 1 if quick else 4
    learnt = digits(epochs, 1 if quick else 2, seed, quick)
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, (shape, rows) in enumerate(biases.items()):
        for name, mark in (("plain", "o-"), ("corrected", "s--"), ("momentum", ".:")):
            left.loglog(
                list(rows), [r[f"bias, {name}"] for r in rows.values()], f"C{i}{mark}", label=f"{shape}, {name}"
            )
    left.set(
        title="bias of the noise", xlabel="deviation in an entry of the momentum", ylabel="length of the mean error"
    )
    for name, rows in learnt.items():
        right.semilogx(list(rows), [row["accuracy"] for row in rows.values()], "o-", label=name)
    right.set(title="digits", xlabel="noise multiplier", ylabel="accuracy on held-out digits")
    for ax in (left, right):
        ax.legend(fontsize=8)
    spent = {noise: om.privacy_spent(noise_multiplier=noise, steps=epochs, delta=DELTA) for noise in NOISES}
    experiment.save(
        figure,
        {"bias by deviation": biases, "digits by method and noise": learnt, f"epsilon at delta {DELTA:g}": spent},
    )


if __name__ == "__main__":
    main()
