"""J_t, L_t and the paper's condition over a six-layer GPT on Shakespeare, along AdamW and Muon.

The first version of the paper has no GPT and its second was not at hand: this is our reading. The quantities of every
hidden matrix (36 of them) are measured on one fixed batch and averaged over matrices.

    python examples/paper/gpt_curvature.py
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import numpy as np
import optax
from flax import nnx
from gpt import data
from gpt_nnx.model import GPT, GPTConfig
from matplotlib.figure import Figure
from paper.experiment import start

import optax_muon as om

LANCZOS = om.diagnostics.Lanczos(iterations=16, tolerance=0.1)  # eigenvalues to about a per cent


def optimizers(steps: int) -> dict[str, optax.GradientTransformation]:
    """Both with the rates of the GPT example, decaying linearly."""
    rate = optax.linear_schedule(3e-3, 0.0, steps)
    hidden = om.muon(optax.linear_schedule(0.02, 0.0, steps))
    return {
        "AdamW": optax.adamw(rate, b2=0.95, weight_decay=0.0),
        "Muon": om.for_matrices(hidden, otherwise=optax.adamw(rate, b2=0.95, weight_decay=0.0)),
    }


def run(config: GPTConfig, corpus: data.Corpus, at: list[int], batch: int, measured: int) -> dict[str, dict]:
    """Train by each optimizer, and measure at the given steps."""
    graph, start_params, rest = nnx.split(GPT(config, nnx.Rngs(0)), nnx.Param, ...)
    fixed, held_out = (data.windows(corpus.valid, count, config.context) for count in (measured, 8 * measured))

    def loss(params, tokens):
        logits = nnx.merge(graph, params, rest)(tokens[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    @jax.jit
    def measure(params, tokens, others):
        return loss(params, others), om.diagnostics.measure(loss, params, tokens, lanczos=LANCZOS)

    results = {}
    for name, tx in optimizers(at[-1]).items():
        train = trainer(loss, tx, corpus.train, batch, config.context)
        params, seen, keys = nnx.as_pure(start_params), [], jax.random.split(jax.random.key(1), at[-1])
        state = tx.init(params)
        for before, now in zip([0, *at], at, strict=False):
            params, state = train(params, state, keys[before:now])
            seen.append(jax.tree.map(np.asarray, measure(params, fixed, held_out)))
        results[name] = {"at": at, "seen": [(float(value), table) for value, table in seen]}
    return results


def trainer(loss, tx: optax.GradientTransformation, ids: jax.Array, batch: int, context: int):
    """Compile a run of as many steps as there are keys."""

    @jax.jit
    def train(params, state, keys):
        def step(carry, key):
            params, state = carry
            grads = jax.grad(loss)(params, data.sample(ids, key, batch, context))
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), keys)[0]

    return train


def averages(result: dict) -> dict[str, np.ndarray]:
    """Averages over matrices at every point."""

    def mean(f):
        return np.array([np.mean([f(m) for m in table.values()]) for _, table in result["seen"]])

    return {
        "J_t": mean(lambda m: m.step_curvature[0]),
        "L_t": mean(lambda m: m.top_curvature[0]),
        "J_t / L_t": mean(lambda m: m.step_curvature[0] / m.top_curvature[0]),
        "nuclear^2 / Frobenius^2": mean(lambda m: float(m.nuclear_rank[0])),
        "condition holds, share": mean(lambda m: float(m.condition[0])),
        "J_t > 0, share": mean(lambda m: m.step_curvature[0] > 0),
    }


def medians(result: dict) -> list[float]:
    """Median gain over matrices at every point; matrices with J_t <= 0 count as infinite."""
    return [float(np.median([float(m.advantage[0]) for m in table.values()])) for _, table in result["seen"]]


def draw(results: dict[str, dict]) -> Figure:
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for (name, result), color in zip(results.items(), ("tab:orange", "tab:blue"), strict=True):
        at, mean = result["at"], averages(result)
        left.plot(at, [loss for loss, _ in result["seen"]], "o-", color=color, label=name)
        middle.plot(at, mean["L_t"], "s--", color=color, label=f"L_t, {name}")
        middle.plot(at, mean["J_t"], "o-", color=color, label=f"J_t, {name}")
        right.plot(at, mean["nuclear^2 / Frobenius^2"], "s--", color=color, label=f"nuclear^2 / Frobenius^2, {name}")
        right.plot(at, mean["J_t / L_t"], "o-", color=color, label=f"J_t / L_t, {name}")
    left.set(title="held-out loss", xlabel="step")
    middle.set(title="curvature, mean over matrices", xlabel="step", yscale="symlog")
    middle.set_yscale("symlog", linthresh=0.01)
    right.set(title="the condition: solid below dashed", xlabel="step", yscale="symlog")
    for ax in (left, middle, right):
        ax.legend(fontsize=7)
    return figure


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    corpus = data.characters()
    quick = experiment.quick
    config = GPTConfig(len(corpus.symbols), *((8, 1, 8, 2) if quick else (32, 6, 32, 2)))
    at, batch, measured = ([2], 2, 1) if quick else ([10, 50, 150, 400], 16, 8)
    results = run(config, corpus, at, batch, measured)
    numbers = {
        name: {
            "steps": at,
            "held-out loss": [loss for loss, _ in result["seen"]],
            "matrices": len(result["seen"][0][1]),
            **averages(result),
            "median gain": medians(result),
        }
        for name, result in results.items()
    }
    experiment.save(draw(results), numbers)


if __name__ == "__main__":
    main()
