"""A small GPT on eight simulated workers, by six ways of telling each other what they found.

Every worker reads batches of its own. Loss of the mean of all weights on text that none has seen, against steps, and
against what one worker has sent.

    python examples/workers/small_gpt.py --out docs/records/workers
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from gpt.data import Corpus, characters, sample, windows
from gpt_linen.model import GPT, GPTConfig
from matplotlib.figure import Figure
from provenance import provenance
from workers.sent import sent

import optax_muon as om

AXIS, COUNT = "workers", 8
PERIOD = 10


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large a run is."""

    layers: int = 2
    width: int = 32
    context: int = 32
    batch: int = 4
    steps: int = 120
    every: int = 10


def others() -> optax.GradientTransformation:
    """AdamW on the mean gradient, for what is no hidden matrix."""
    return optax.chain(om.workers.average_over(AXIS), optax.adamw(3e-3))


def split(make: Callable[..., optax.GradientTransformation], rate: float, **options) -> Callable:
    """Send hidden matrices to a card, and the rest to AdamW."""

    def built(leaves, steps):
        schedule = optax.linear_schedule(rate, 0.0, steps)
        return om.for_matrices(make(schedule, axis_name=AXIS, **options), others(), leaves=leaves)

    return built


def whole(leaves):
    """Say that every worker has whole matrices, as the cards that talk do by themselves."""
    return om.workers.own_matrices(leaves, AXIS)


def data_parallel(leaves, steps):
    """One Muon on the mean gradient."""
    muon = om.for_matrices(om.muon(optax.linear_schedule(0.02, 0.0, steps)), optax.adamw(3e-3), leaves=whole(leaves))
    return optax.chain(om.workers.average_over(AXIS), muon)


def loscar(leaves, steps):
    """Local Muon and AdamW, a random half of whose weights is averaged while they go on."""
    local = om.for_matrices(om.muon(optax.linear_schedule(0.02, 0.0, steps)), optax.adamw(3e-3), leaves=whole(leaves))
    merge = om.workers.merge_overlapped(PERIOD, AXIS, overlap=2, fraction=0.5, leaves=leaves)
    return optax.chain(local, merge)


def muloco(leaves, steps):
    """Local Muon and AdamW, and a Nesterov step along the mean of what they did."""
    local = om.for_matrices(om.muon(optax.linear_schedule(0.02, 0.0, steps)), optax.adamw(3e-3), leaves=whole(leaves))
    return om.diloco(0.7, local, period=PERIOD, momentum=0.6, axis_name=AXIS)


METHODS = {
    "data-parallel Muon": data_parallel,
    "vote": split(om.sign_muon, 3e-3),
    "EF21, a tenth": split(om.ef21_muon, 0.02),
    "DeMuon on a ring": split(om.demuon, 0.02),
    "LOSCAR around Muon": loscar,
    "MuLoCo": muloco,
}


def train(corpus: Corpus, sizes: Sizes, name: str) -> dict:
    """Train by one way; the losses, and the bytes sent until then."""
    config = GPTConfig(corpus.vocabulary, sizes.context, sizes.layers, sizes.width, heads=2)
    model = GPT(config)
    tokens = jnp.zeros((1, sizes.context), jnp.int32)
    params = jax.jit(model.init)(jax.random.key(0), tokens)["params"]
    leaves = om.leaves_from_flax(model, tokens)
    tx = optax.with_extra_args_support(METHODS[name](leaves, sizes.steps))
    held_out = windows(corpus.valid, 64, sizes.context)

    def loss(params, tokens):
        logits, _ = model.apply({"params": params}, tokens[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    def step(params, state, worker, key):
        """Take one worker's step on a batch of its own."""
        batch = sample(corpus.train, jax.random.fold_in(key, worker), sizes.batch, sizes.context)
        updates, state = tx.update(jax.grad(loss)(params, batch), state, params)
        return optax.apply_updates(params, updates), state

    everyone = jax.jit(jax.vmap(step, in_axes=(0, 0, 0, None), axis_name=AXIS))
    evaluate = jax.jit(lambda all_params: loss(jax.tree.map(lambda p: p.mean(axis=0), all_params), held_out))
    numbers = jnp.arange(COUNT)
    all_params = jax.tree.map(lambda p: jnp.broadcast_to(p, (COUNT, *p.shape)), params)
    all_states = jax.vmap(tx.init)(all_params)
    rows = [{"step": 0, "loss": float(evaluate(all_params)), "bytes": 0}]
    one = jax.eval_shape(tx.init, params)
    traffic = sent(functools.partial(_update, tx), AXIS, COUNT, params, one, params)
    for i in range(1, sizes.steps + 1):
        all_params, all_states = everyone(all_params, all_states, numbers, jax.random.fold_in(jax.random.key(1), i))
        if i % sizes.every == 0:
            row = {"step": i, "loss": float(evaluate(all_params)), "bytes": round(traffic.after(i, PERIOD))}
            rows.append(row)
    return {"rows": rows, "parameters": sum(p.size for p in jax.tree.leaves(params))}


def _update(tx, params, state, grads):
    return tx.update(grads, state, params)


def draw(results: dict[str, dict], over: str, label: str) -> Figure:
    """Draw the losses of all ways."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, result in results.items():
        x, y = (np.array([row[key] for row in result["rows"]], float) for key in (over, "loss"))
        axes.plot(x[1:], y[1:], label=name)
    axes.set(
        xlabel=label, ylabel="loss on held-out text, nats per character", xscale="log" if over == "bytes" else "linear"
    )
    axes.legend()
    return figure


def main(argv: list[str] | None = None) -> None:
    """Run all ways, and write ``small_gpt.json`` and both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/workers"), help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="the smallest run, to see that it works")
    parser.add_argument("--only", nargs="*", choices=list(METHODS), help="ways; all")
    args = parser.parse_args(argv)
    sizes = Sizes(layers=1, width=8, context=8, batch=1, steps=4, every=2) if args.quick else Sizes()
    corpus = characters("python")
    results = {}
    for name in args.only or METHODS:
        began = time.process_time()
        results[name] = train(corpus, sizes, name)
        last = results[name]["rows"][-1]
        print(f"{name}: {last} in {time.process_time() - began:.0f} s of CPU", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    record = {**provenance(), "text": corpus.digest, "sizes": dataclasses.asdict(sizes), "results": results}
    (args.out / "small_gpt.json").write_text(json.dumps(record, indent=1) + "\n")
    draw(results, "step", "steps").savefig(args.out / "steps.png", dpi=110)
    draw(results, "bytes", "bytes that one worker has sent").savefig(args.out / "bytes.png", dpi=110)


if __name__ == "__main__":
    main()
