"""The isotropic curvature model (arXiv 2511.00674): the best update as a function of how curvature grows.

Minimise -tr(Q G^T) + E H(|Q z|) over Q, z uniform on the unit sphere. The best Q has G's singular vectors, so that its
singular values solve min_q -sum q_i s_i + E H(sqrt(sum q_i^2 z_i^2)): Newton's method on a sample of z. H(r) = r^p / p,
and a kink at r = 1, where the slope of H jumps from a to b.

    python examples/paper/isotropic_curvature.py
"""

import pathlib
import sys
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np
from matplotlib.figure import Figure
from paper.experiment import start

Growth = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""H, its slope and its curvature at radii."""


def power(p: float) -> Growth:
    return lambda r: (r**p / p, r ** (p - 1), (p - 1) * r ** (p - 2))


def kink(low: float, high: float, width: float) -> Growth:
    """Let the slope pass from ``low`` to ``high`` around r = 1, by a logistic of this width."""

    def growth(r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = (r - 1) / width
        share = 0.5 * (1 + np.tanh(x / 2))
        integral = width * np.logaddexp(0, x)
        return low * r + (high - low) * integral, low + (high - low) * share, (high - low) * share * (1 - share) / width

    return growth


def value(q: np.ndarray, s: np.ndarray, squares: np.ndarray, growth: Growth) -> float:
    """The model's change of the loss."""
    return float(-q @ s + growth(np.sqrt(squares @ q**2))[0].mean())


def best(s: np.ndarray, squares: np.ndarray, growth: Growth, q: np.ndarray, iterations: int = 200) -> np.ndarray:
    """Minimise by Newton's method with backtracking, from ``q``."""
    for _ in range(iterations):
        r = np.sqrt(squares @ q**2)
        _, slope, bend = growth(r)
        along = squares * q / r[:, None]  # derivative of r
        gradient = -s + (slope[:, None] * along).mean(axis=0)
        hessian = (along * (bend - slope / r)[:, None]).T @ along / len(r)
        hessian += np.diag((slope / r) @ squares / len(r)) + 1e-12 * np.eye(len(q))
        move = np.linalg.solve(hessian, gradient)
        now, t = value(q, s, squares, growth), 1.0
        while t > 1e-12 and not value(q - t * move, s, squares, growth) < now - 1e-4 * t * gradient @ move:
            t /= 2
        if t <= 1e-12 or gradient @ move < 1e-14:
            break
        q = q - t * move
    return q


def along(direction: np.ndarray, s: np.ndarray, squares: np.ndarray, growth: Growth) -> float:
    """The model's least change along a direction, over its length."""
    low, high = 0.0, 1e3 / float(np.linalg.norm(direction))
    for _ in range(100):  # the model is convex along a line
        a, b = low + (high - low) / 3, high - (high - low) / 3
        if value(a * direction, s, squares, growth) < value(b * direction, s, squares, growth):
            high = b
        else:
            low = a
    return value(low * direction, s, squares, growth)


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    n, samples = (4, 50) if experiment.quick else (8, 500)
    z = np.random.default_rng(experiment.seed).normal(size=(samples, n))
    squares = z**2 / (z**2).sum(axis=1, keepdims=True)
    # Every point with its cyclic shifts: the sample's mean is then the sphere's, and its points stay on it.
    squares = np.concatenate([np.roll(squares, k, axis=1) for k in range(n)])
    s = np.geomspace(1, 0.1, n)
    growths: dict[str, Growth] = {f"r^{p:g}": power(p) for p in (2.0, 3.0, 4.0, 8.0)}
    for width in (0.1, 0.01, 0.001):
        growths[f"kink, width {width:g}"] = kink(0.0, 40.0, width)
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    numbers, start_at = {}, np.ones(n)
    for name, growth in growths.items():
        # A sharper kink starts from where a softer one ended.
        q = start_at = best(s, squares, growth, start_at if "kink" in name else np.ones(n))
        least = value(q, s, squares, growth)
        numbers[name] = {
            "largest over smallest singular value": q.max() / q.min(),
            "slope of log q in log s": np.polyfit(np.log(s), np.log(q), 1)[0],
            "share of the best change: polar factor": along(np.ones(n), s, squares, growth) / least,
            "share of the best change: gradient": along(s, s, squares, growth) / least,
        }
        (right if "kink" in name else left).loglog(s, q / q.max(), "o-", label=name)
    for ax, title in ((left, "smooth growth, H = r^p / p"), (right, "a kink of H' from 0 to 40 at r = 1")):
        ax.loglog(s, s, ":", color="grey", label="gradient")
        ax.set(title=title, xlabel="singular values of G", ylabel="of the best update, largest 1", ylim=(0.05, 1.3))
        ax.legend(fontsize=8)
    experiment.save(figure, {"singular values of G": s, "samples": samples, **numbers})


if __name__ == "__main__":
    main()
