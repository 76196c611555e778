"""What must not cost loss: products in bfloat16, and momentum in eight bits, beside Muon in float32.

    python examples/same_loss.py                 # 500 steps of the small GPT, ten seeds, some minutes on two cores
    python examples/same_loss.py --quick

Runs of one seed start from the same weights and see the same batches, so that their difference counts. Rounding alone
moves a run: ``jitter`` is Muon with updates two units in the last place longer, and the others are judged beside it.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import numpy as np
import optax
from gpt.recipe import Recipe, of_card
from matplotlib.figure import Figure
from paper.experiment import start
from sweep.program import POINTS, Program
from sweep.workloads import shakespeare

import optax_muon as om

FLOAT32, BFLOAT16 = (om.linalg.best(arithmetic=a) for a in (om.linalg.FLOAT32, om.linalg.BFLOAT16))


@dataclasses.dataclass(frozen=True)
class Variant(Recipe):
    """Muon with another orthogonalizer, or with something around the whole optimizer."""

    orthogonalizer: Any = FLOAT32
    around: Callable[[optax.GradientTransformation], optax.GradientTransformation] = lambda tx: tx

    def transformation(self, leaves: Any = None, peak: Any = None) -> optax.GradientTransformation:
        """Build the optimizer for the whole model."""
        others = optax.adamw(self.rate(self.other_rate), b2=self.beta2, weight_decay=0.0)
        options = {"weight_decay": self.weight_decay, "orthogonalizer": self.orthogonalizer}
        rate = self.rate(self.peak if peak is None else peak)
        return self.around(of_card(om.registry["muon"], rate, others, leaves, options))


def jittered(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Make every update larger by two in the last place of float32."""
    return optax.chain(optax.with_extra_args_support(tx), optax.scale(1 + 2.0**-22))


VARIANTS = {
    "float32": {},
    "jitter": {"around": jittered},
    "bfloat16 products": {"orthogonalizer": BFLOAT16},
    "momentum in 8 bits": {"around": om.transforms.quantize_state},
}


def main(argv: list[str] | None = None) -> None:
    run = start(__file__, __doc__, argv)
    steps, seeds = (POINTS, 2) if run.quick else (500, 10)
    workload = shakespeare((16, 1, 16, 2), batch=4) if run.quick else shakespeare()
    losses = {}
    for name, options in VARIANTS.items():
        recipe = Variant(steps=steps, **options)
        program = Program(workload, recipe)
        found = [program(recipe.peak, run.seed + seed) for seed in range(seeds)]
        losses[name] = np.array([outcome.loss for outcome in found])
        apart = losses[name] - losses["float32"]
        print(
            f"{name:20} {losses[name].mean():.4f}, beside float32 {apart.mean():+.4f} ± {error(apart):.4f}", flush=True
        )
    numbers = {
        "steps": steps,
        "losses": losses,
        "mean": {name: values.mean() for name, values in losses.items()},
        "deviation between seeds": {name: values.std(ddof=1) for name, values in losses.items()},
        "beside float32": {name: (v - losses["float32"]).mean() for name, v in losses.items()},
        "its standard error": {name: error(v - losses["float32"]) for name, v in losses.items()},
    }
    run.save(picture(losses), numbers)


def error(apart: np.ndarray) -> float:
    """Standard error of a mean."""
    return float(apart.std(ddof=1) / np.sqrt(len(apart)))


def picture(losses: dict[str, np.ndarray]) -> Figure:
    """Draw every seed's difference from float32, with mean and standard error."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes, others = figure.subplots(), [name for name in losses if name != "float32"]
    for at, name in enumerate(others):
        apart = losses[name] - losses["float32"]
        axes.plot(np.full(len(apart), at), apart, "o", ms=4, alpha=0.5)
        axes.errorbar([at], [apart.mean()], yerr=[error(apart)], fmt="k_", ms=14, capsize=4)
    spread = losses["float32"].std(ddof=1)
    axes.axhspan(-spread, spread, color="grey", alpha=0.15, lw=0, label="deviation between seeds")
    axes.axhline(0, color="grey", lw=0.8, ls="--")
    axes.set_xticks(range(len(others)), others)
    axes.set(title="validation loss minus float32's, seed by seed", ylabel="nats", xlim=(-0.6, len(others) - 0.4))
    axes.legend(loc="lower left")
    return figure


if __name__ == "__main__":
    main()
