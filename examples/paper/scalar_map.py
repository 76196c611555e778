"""The scalar map of Newton-Schulz, figure 4: what five steps do to a singular value between 0 and 1.

And that of a cap by polynomials (arXiv 2507.13338): beside min(s, 1) on [0, 3], and after each of many steps by 0.1.

python examples/paper/scalar_map.py
"""

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from paper.experiment import start

from optax_muon import linalg

TABLES = {
    "Jordan 2024, the paper's": linalg.JORDAN_2024,
    "You 2025": linalg.YOU_2025,
    "Polar Express 2025": linalg.POLAR_EXPRESS_NANOGPT_2025,
}
CLAIM = (0.65, 1.25)  # the paper: five steps take most of [eps, 1] into this interval


def after_each_step(table: linalg.Coefficients, x: np.ndarray) -> list[np.ndarray]:
    """Values of ``x`` after 0, 1, ... steps of ``a x + b x^3 + c x^5``."""
    x = x / table.safety
    values = [x]
    for terms in table.rows:
        x = x * np.polynomial.polynomial.polyval(x * x, terms)
        values.append(x)
    return values


def caps(points: int, steps: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Give the cap of 1 on [0, 3], once and ten times, and how far it is from min(s, 1)."""
    cap = linalg.PolynomialCap(1.0)
    s = np.linspace(0, 3, points, dtype=np.float32)
    once = np.asarray(cap.scalar(jnp.asarray(s)))
    often = jnp.asarray(s)
    for _ in range(10):
        often = cap.scalar(often)
    grown = jnp.zeros(1)
    for _ in range(steps):  # a singular value that every step makes larger
        grown = cap.scalar(grown + 0.1)
    worst = float(np.abs(once - np.minimum(s, 1)).max())
    curves = {"singular value": s, "cap": once, "cap, ten times": np.asarray(often)}
    return curves, {
        "largest error on [0, 3]": worst,
        "after steps of 0.1": float(grown[0]),
        "ten times, of 0.5": float(np.interp(0.5, s, curves["cap, ten times"])),
    }


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    x = np.geomspace(1e-4, 1, 200 if experiment.quick else 20_001)
    uniform = np.linspace(0, 1, 1001 if experiment.quick else 1_000_001)
    figure = Figure(figsize=(17, 4), layout="constrained")
    numbers: dict[str, Any] = {}
    *panels, last = figure.subplots(1, len(TABLES) + 1)
    for (name, table), ax in zip(TABLES.items(), panels, strict=True):
        for count, y in enumerate(after_each_step(table, x)):
            ax.semilogx(x, y, label=f"{count} steps", color="black" if count == table.steps else None, alpha=0.8)
        ax.axhspan(*CLAIM, alpha=0.15, color="tab:green")
        ax.set(title=name, xlabel="singular value, over the norm", ylabel="after the steps", ylim=(0, 1.4))
        final, spread = after_each_step(table, x)[-1], after_each_step(table, uniform)[-1]
        inside = (final >= CLAIM[0]) & (final <= CLAIM[1])
        numbers[name] = {
            "steps": table.steps,
            "slope at zero": np.prod([row[0] for row in table.rows]) / table.safety,
            "inside [0.65, 1.25] from": x[np.flatnonzero(~inside)[-1] + 1] if not inside.all() else x[0],
            "share of a uniform singular value inside": np.mean((spread >= CLAIM[0]) & (spread <= CLAIM[1])),
            "range beyond 0.01": [final[x >= 0.01].min(), final[x >= 0.01].max()],
        }
    curves, numbers["PolynomialCap"] = caps(301 if experiment.quick else 30_001, 100)
    s = curves.pop("singular value")
    last.plot(s, np.minimum(s, 1), "k:", label="min(s, 1)")
    for name, y in curves.items():
        last.plot(s, y, label=name)
    last.set(title="PolynomialCap(1)", xlabel="singular value", ylabel="after the cap")
    for ax in (panels[0], last):
        ax.legend(fontsize=7)
    experiment.save(figure, numbers)


if __name__ == "__main__":
    main()
