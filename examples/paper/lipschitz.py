"""Digits by networks whose Lipschitz constant is bounded: accuracy beside a certified bound.

Three matrices, 196-32-32-10, ReLU between them: in Euclidean norms the network stretches differences of images by no
more than the product of the three spectral norms. Every optimizer keeps each of these under the same R, by another
means, and Muon under nothing. A digit is certified where no change of the image of length EPSILON can move it: where
its logit is ahead by more than sqrt(2) EPSILON times the bound. Each rate is chosen by the loss on the training images.

    python examples/paper/lipschitz.py
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
from jaxtyping import Array
from matplotlib.figure import Figure
from paper import network
from paper.experiment import start

import optax_muon as om

SIZES = (196, 32, 32, 10)
RADII = (0.5, 1.0, 2.0)  # R; the bound of the network is R^3
RATES = (0.02, 0.06)  # steps in spectral norm, in units of R, falling to zero
EPSILON = 0.5  # the pixels are in [0, 1]; an image has length 4.6 on average
SHARPNESS = 16.0  # of the softmax in training, or a small bound would keep probabilities even
BATCH = 128
CONSTANT: dict[str, Any] = {"shape_scale": om.shapes.Constant(1.0)}
LEAVES = {f"w{i}": {"kernel": om.Leaf("hidden", reduction=0, output=1)} for i in (1, 2, 3)}
Make = Callable[[Array, float, int], optax.GradientTransformation]


def falling(rate: Array | float, steps: int) -> optax.Schedule:
    return lambda count: rate * (1 - count / steps)


def muon(rate: Array, radius: float, steps: int) -> optax.GradientTransformation:
    return om.muon(falling(rate * radius, steps), **CONSTANT)


def projected(rate: Array, radius: float, steps: int) -> optax.GradientTransformation:
    cap = om.transforms.project_weights(om.linalg.SpectralClip(radius))
    return optax.chain(muon(rate, radius, steps), cap)


def scion(rate: Array, radius: float, steps: int) -> optax.GradientTransformation:
    # Weights move to R times the oracle by shares: they stay in the ball of radius R.
    ball = {"norms": {"hidden": om.norms.Spectral()}, "radii": {"hidden": radius}}
    return om.scion(falling(rate, steps), leaves=LEAVES, **ball)


def sso(rate: Array, radius: float, steps: int) -> optax.GradientTransformation:
    return om.sso(falling(rate, steps), radius=radius, rounds=8, power_steps=None, **CONSTANT)


def mucon(rate: Array, radius: float, steps: int) -> optax.GradientTransformation:
    # Capped updates with decay: the ball's radius is the cap over the decay, times the rate over itself.
    cap = 0.01
    return om.mucon(falling(rate * radius / cap, steps), maximum=cap, weight_decay=cap / radius, **CONSTANT)


BOUNDED: dict[str, Make] = {"project_weights": projected, "scion": scion, "sso": sso, "mucon": mucon}


def start_inside(params: dict, radius: float) -> dict:
    """Scale every matrix to spectral norm R, where every constraint holds."""
    return jax.tree.map(lambda w: w * radius / jnp.linalg.norm(w, 2), params)


def train(make: Make, radius: float, steps: int, images: tuple, seed: int) -> Callable[[Array], tuple[Array, dict]]:
    """Give the last training loss and weights as a function of the rate."""
    x, y = images
    first = start_inside(network.create(seed, SIZES), radius)

    def loss(params: dict, x: Array, y: Array) -> Array:
        return network.loss(params | {"w3": {"kernel": SHARPNESS * params["w3"]["kernel"]}}, x, y)

    def run(rate: Array) -> tuple[Array, dict]:
        tx = make(rate, radius, steps)

        def step(carry, key):
            params, state = carry
            chosen = jax.random.choice(key, len(x), (BATCH,))
            grads = jax.grad(loss)(params, x[chosen], y[chosen])
            updates, state = tx.update(grads, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), None

        keys = jax.random.split(jax.random.key(seed), steps)
        (params, _), _ = jax.lax.scan(step, (first, tx.init(first)), keys)
        return loss(params, x, y), params

    return jax.jit(lambda rates: jax.lax.map(run, rates))


def certify(params: dict, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Measure accuracy, the bound of the network, and the share of digits that are right and certified."""
    weights = [np.asarray(params[name]["kernel"], np.float64) for name in sorted(params)]
    bound = float(np.prod([np.linalg.norm(w, 2) for w in weights]))
    for i, w in enumerate(weights):
        x = np.maximum(x, 0) @ w if i else x @ w
    right = x[np.arange(len(y)), y]
    others = np.where(np.arange(10) == y[:, None], -np.inf, x).max(1)
    ahead = right - others
    return {
        "accuracy": float(np.mean(ahead > 0)),
        "bound": bound,
        f"certified at {EPSILON}": float(np.mean(ahead > np.sqrt(2) * EPSILON * bound)),
    }


def halved(pixels: np.ndarray) -> np.ndarray:
    """Average blocks of 2 x 2 pixels, 196 numbers an image."""
    return pixels.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196)


def measure(steps: int, radii: tuple[float, ...], seed: int) -> dict[str, dict[float, dict[str, float]]]:
    """Train every optimizer at every radius."""
    images = mnist(seed)
    given = jnp.asarray(halved(images.train)), jnp.asarray(images.train_labels)
    test = halved(images.test).astype(np.float64), images.test_labels
    found: dict[str, dict[float, dict[str, float]]] = {}
    for name, make in ({"muon": muon} | BOUNDED).items():
        for radius in radii if make is not muon else (1.0,):
            losses, params = train(make, radius, steps, given, seed)(jnp.asarray(RATES))
            best = int(np.argmin(losses))
            row = certify(jax.tree.map(lambda w, best=best: w[best], params), *test)
            found.setdefault(name, {})[radius] = row
            promised = f" (promised {radius**3:g})" if make is not muon else ""
            print(f"{name:16} R {radius:4g}  accuracy {row['accuracy']:.3f}  bound {row['bound']:.4g}{promised}")
    return found


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    quick = experiment.quick
    found = measure(20 if quick else 300, RADII[1:2] if quick else RADII, experiment.seed)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, rows in found.items():
        bounds = [row["bound"] for row in rows.values()]
        for ax, what in ((left, "accuracy"), (right, f"certified at {EPSILON}")):
            ax.semilogx(bounds, [row[what] for row in rows.values()], "o-", label=name)
            ax.set(xlabel="product of spectral norms", ylabel=what)
    left.set_title("held-out digits")
    right.set_title(f"right, and no change of length {EPSILON} moves them")
    left.legend()
    experiment.save(figure, found)


if __name__ == "__main__":
    main()
