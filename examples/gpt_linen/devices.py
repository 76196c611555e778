"""Measure how far the loss on eight devices departs from that on one, and why.

    python examples/gpt_linen/devices.py --out docs/records/gpt_devices

Every difference between two runs is rounding, and training makes rounding grow. So each pair of runs on one and eight
devices stands beside what one device does after its initial weights were moved by one unit in the last place.
"""

import argparse
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from gpt import data
from gpt.recipe import Recipe
from gpt_linen.mesh import found, mesh_of
from gpt_linen.model import GPT, GPTConfig
from gpt_linen.training import Training

mpl.use("Agg")
import matplotlib.pyplot as plt

CASES = {  # label: optimizer, dtype, what the second run has
    "muon, 8 devices": ("muon", "float32", "devices"),
    "muon, one unit in the last place": ("muon", "float32", "moved"),
    "muon, 8 devices, float64": ("muon", "float64", "devices"),
    "adamw, 8 devices": ("adamw", "float32", "devices"),
}


def curve(recipe: Recipe, dtype: str, devices: int, moved: bool, steps: int) -> list[float]:
    """Losses of the first steps of a run on Shakespeare."""
    with jax.enable_x64(dtype == "float64"):
        corpus = data.characters()
        made = Training(GPT(GPTConfig(len(corpus.symbols))), recipe, mesh_of(found(devices)))
        params = jax.tree.map(lambda x: x.astype(dtype), made.init_params(jax.random.key(0)))
        if moved:
            params = jax.tree.map(lambda x: jnp.where(x == 0, x, jnp.nextafter(x, jnp.inf)), params)
        state, losses, step = made.tx.init(params), [], jax.jit(made._step, donate_argnums=(0, 1))
        for i in range(steps):
            tokens = data.sample(corpus.train, jax.random.fold_in(jax.random.key(1), i), 32, made.model.config.context)
            params, state, loss, _ = step(params, state, tokens)
            losses.append(float(loss))
    return losses


def plot(record: dict, path: pathlib.Path) -> None:
    """Draw every pair's difference over steps."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for label, (first, second) in record.items():
        gap = np.abs(np.subtract(first, second))
        axes.semilogy(np.arange(1, len(gap) + 1), np.where(gap == 0, np.nan, gap), "o-", ms=3, label=label)
    axes.axhline(1e-4, color="grey", lw=0.8, ls="--")
    axes.set(
        xlabel="step", ylabel="difference of losses, nats per token", title="GPT on Shakespeare, against one device"
    )
    axes.set_ylim(top=10)
    axes.legend(loc="upper left", ncols=2)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50, help="(%(default)s)")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/gpt_devices"), help="(%(default)s)")
    args = parser.parse_args()
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "record.json"
    record = json.loads(file.read_text()) if file.exists() else {}
    for label, (optimizer, dtype, other) in CASES.items():
        if label in record:
            continue
        recipe = Recipe(optimizer)
        first = curve(recipe, dtype, 1, False, args.steps)
        second = curve(recipe, dtype, 8 if other == "devices" else 1, other == "moved", args.steps)
        record[label] = [first, second]
        file.write_text(json.dumps(record) + "\n")
        print(f"{label}: {np.abs(np.subtract(first, second)).max():.1e} at most")
    plot(record, args.out / "difference.png")


if __name__ == "__main__":
    main()
