"""Fine-tune a small GPT by low-rank adapters, whose two factors start at other sizes: (A, B), and (10 A, B / 10).

The GPT learns plays, with one line in sixteen of Python; adapters of its feed-forward layers then learn Python from it.
The product of the factors is the same in both starts, and so is every function that the adapter can learn: what differs
is how an optimizer sees it. Losses are those of held-out Python, in nats per character, by learning rate.

    python examples/fine_tuning.py
"""

import functools
import math
import pathlib
import sys
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from gpt import data, texts
from gpt_nnx.model import GPT, GPTConfig
from gpt_nnx.training import evaluate, loss_of
from jaxtyping import Array, Float, Int
from matplotlib.figure import Figure
from paper.experiment import start

import optax_muon as om

CONFIG = GPTConfig(vocabulary=128, context=64, layers=2, width=64, heads=4)
BATCH, RANK = 16, 4
SIZES = (1.0, 10.0)  # c, of (c A, B / c)
RATES = {
    "LoRA-Muon": (0.03, 0.1, 0.3, 1.0),
    "Intrinsic Muon": (0.01, 0.03, 0.1, 0.3),
    "Riemannion": (0.01, 0.03, 0.1, 0.3),
    "Muon on the factors": (0.003, 0.01, 0.03, 0.1),
    "AdamW": (0.003, 0.01, 0.03, 0.1),
}


def ascii_ids(name: str) -> Int[Array, " N"]:
    """Codes of a text's ASCII characters."""
    return jnp.asarray(np.frombuffer(texts.TEXTS[name]().encode("ascii", "ignore"), np.uint8))


def drawn(ids: Array, seed: int, steps: int, batch: int) -> Int[Array, "S B T+1"]:
    """Draw the batches of all steps."""
    keys = jax.random.split(jax.random.key(seed), steps)
    return jnp.stack([data.sample(ids, key, batch, CONFIG.context) for key in keys])


def trained(
    model: GPT, wrt: Any, make: Callable[[Any], optax.GradientTransformation], batches: Int[Array, "S B T+1"]
) -> Callable[[Any, Any], Any]:
    """Give a function of what is trained and of the rate, which falls to zero after a tenth of warm-up."""
    graph, _, rest = nnx.split(model, wrt, ...)
    steps = batches.shape[0]

    def run(params: Any, rate: Any) -> Any:
        tx = make(lambda count: rate * jnp.minimum((count + 1) / math.ceil(steps / 10), 1 - count / steps))

        def step(carry, tokens):
            params, state = carry
            grads = jax.grad(lambda p: loss_of(nnx.merge(graph, p, rest), tokens)[0])(params)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), batches)[0][0]

    return run


def pretrained(plays: Array, code: Array, steps: int, seed: int) -> GPT:
    """Train all of a fresh GPT on plays and a little code."""
    model = GPT(CONFIG, nnx.Rngs(seed))
    batches = jnp.concatenate([drawn(plays, seed, steps, BATCH - 1), drawn(code, seed + 1, steps, 1)], axis=1)
    leaves = om.leaves_from_flax(model)

    def make(rate):
        other = optax.adamw(lambda count: 0.15 * rate(count))
        return om.for_matrices(om.muon(rate), otherwise=other, leaves=leaves)

    run = trained(model, nnx.Param, make, batches)
    nnx.update(model, jax.jit(run)(nnx.state(model, nnx.Param), 0.02))
    return model


def adapted(model: GPT, seed: int) -> GPT:
    """Put adapters around the feed-forward layers."""
    rngs, width = nnx.Rngs(seed), CONFIG.width
    for block in model.blocks:
        mlp: Any = block.mlp
        mlp.up = nnx.LoRA(width, RANK, 4 * width, base_module=mlp.up, rngs=rngs)
        mlp.down = nnx.LoRA(4 * width, RANK, width, base_module=mlp.down, rngs=rngs)
    return model


def of_size(factors: Any, c: float) -> Any:
    """Share the same products out otherwise."""
    scales = {"lora_a": c, "lora_b": 1 / c}
    return jax.tree.map_with_path(
        lambda path, x: x * next(s for name, s in scales.items() if name in jax.tree_util.keystr(path)), factors
    )


def optimizers(model: GPT) -> dict[str, Callable[[Any], optax.GradientTransformation]]:
    """Give what is compared, each a function of its schedule."""
    leaves = om.leaves_from_flax(model, wrt=nnx.LoRAParam)
    return {
        "LoRA-Muon": functools.partial(om.lora_muon, leaves=leaves),
        "Intrinsic Muon": functools.partial(om.intrinsic_muon, leaves=leaves),
        "Riemannion": functools.partial(om.riemannion, leaves=leaves),
        "Muon on the factors": functools.partial(om.muon, leaves=leaves),
        "AdamW": optax.adamw,
    }


def compared(model: GPT, code: Array, steps: int, seed: int, rates: dict[str, tuple[float, ...]]) -> dict[str, Any]:
    """Held-out losses by optimizer, size and rate."""
    cut = int(0.95 * len(code))
    held_out = data.windows(code[cut:], 128, CONFIG.context).reshape(4, 32, -1)
    batches = drawn(code[:cut], seed + 2, steps, BATCH)
    graph, start_at, rest = nnx.split(model, nnx.LoRAParam, ...)
    found: dict[str, Any] = {"before": float(evaluate(model, held_out))}
    for name, make in optimizers(model).items():
        run = trained(model, nnx.LoRAParam, make, batches)

        def measured(factors, rate, run=run) -> Float[Array, ""]:
            factors = run(factors, rate)
            return jnp.mean(jax.lax.map(lambda x: loss_of(nnx.merge(graph, factors, rest), x)[0], held_out))

        over_rates = jax.jit(
            lambda factors, rates, measured=measured: jax.lax.map(lambda r: measured(factors, r), rates)
        )
        found[name] = {}
        for c in SIZES:
            losses = over_rates(of_size(start_at, c), jnp.asarray(rates[name]))
            found[name][c] = dict(zip(rates[name], losses.tolist(), strict=True))
    return found


def drawn_losses(found: dict[str, Any], before: float) -> Figure:
    """Draw losses over rates, one panel for each optimizer."""
    figure = Figure(figsize=(15, 3.6), layout="constrained")
    lowest = min(loss for sizes in found.values() for losses in sizes.values() for loss in losses.values())
    for ax, (name, sizes) in zip(figure.subplots(1, len(found), sharey=True), found.items(), strict=True):
        for label, marks, losses in zip(("(A, B)", "(10 A, B / 10)"), ("o-", "x--"), sizes.values(), strict=True):
            ax.semilogx([float(rate) for rate in losses], list(losses.values()), marks, label=label)
        ax.axhline(before, color="gray", linewidth=0.8)
        ax.set(title=name, xlabel="learning rate", ylim=(lowest - 0.03, before + 0.1))
        ax.legend(loc="upper right")
    figure.axes[0].set(ylabel="held-out loss (gray: before)")
    return figure


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    steps, rates = (300, RATES) if not experiment.quick else (4, {name: x[1:3] for name, x in RATES.items()})
    plays, code = ascii_ids("shakespeare"), ascii_ids("python")
    model = adapted(pretrained(plays, code, 2 * steps, experiment.seed), experiment.seed)
    found = compared(model, code, steps // 3, experiment.seed, rates)
    before = found.pop("before")
    apart = {name: max(abs(x[1.0][r] - x[10.0][r]) for r in x[1.0]) for name, x in found.items()}
    best = {name: {c: min(losses.values()) for c, losses in sizes.items()} for name, sizes in found.items()}
    experiment.save(
        drawn_losses(found, before),
        {"loss before": before, "loss by rate": found, "largest difference": apart, "best": best},
    )


if __name__ == "__main__":
    main()
