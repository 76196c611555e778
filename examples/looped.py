"""A GPT block that is run many times over its own output, with an injection that keeps its state bounded (Parcae).

Before every loop the embedded input enters the state again: h <- Abar h + dt (B e), with a decay Abar in (0, 1) of
every channel whatever its parameters are; or, as the usual choice, h <- h + e, which forgets nothing. Both models are
trained at eight loops and then run for up to sixty-four.

Parcae, arXiv 2604.12946: its optimizer too, a Muon with second moments per neuron and cautious decay, and AdamW for the
injection's parameters, which a rule sends there.

    python examples/looped.py
"""

import math
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from gpt import data, texts
from gpt.layers import GPTConfig
from gpt_nnx.model import Block
from jaxtyping import Array, Float, Int
from matplotlib.figure import Figure
from paper.experiment import start

import optax_muon as om

CONFIG = GPTConfig(vocabulary=128, context=64, layers=2, width=64, heads=4)
LOOPS = (1, 2, 4, 8, 16, 32, 64)
TRAINED = 8  # loops in training
BATCH = 8
FIRST_DECAY = math.sqrt(1 / 5)
RULES = [("injection/*", "other")]  # its matrix is orthogonalised by nobody: the decay rests on its size


def stable_decay(a: Float[Array, " D"], b: Float[Array, " D"]) -> Float[Array, " D"]:
    """Decay of every channel for any parameters: a diagonal -exp(a), held over a step softplus(b).

    In floating point it may round to 0 or 1 and never leaves [0, 1].
    """
    return jnp.exp(-jax.nn.softplus(b) * jnp.exp(a))


def decay_report(injection: "Injection") -> dict[str, Float[Array, ""]]:
    """Largest and mean decay: the first bounds how long a state remembers, and is what to watch."""
    decay = stable_decay(injection.A_log[...], injection.dt_bias[...])
    return {"largest": jnp.max(decay), "mean": jnp.mean(decay)}


class Injection(nnx.Module):
    """The input into the state, and the state's decay."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        step = -math.log(FIRST_DECAY)
        self.A_log = nnx.Param(jnp.zeros(width))
        self.dt_bias = nnx.Param(jnp.full(width, step + math.log(-math.expm1(-step))))  # softplus of it is the step
        identity = lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype)  # noqa: E731
        self.B = nnx.Linear(width, width, use_bias=False, kernel_init=identity, rngs=rngs)

    def __call__(self, h: Float[Array, "B T D"], e: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        decay = stable_decay(self.A_log[...], self.dt_bias[...])
        return decay * h + jax.nn.softplus(self.dt_bias[...]) * self.B(e)


class Looped(nnx.Module):
    """Embedding, a few blocks that are run in a loop, and a head."""

    def __init__(self, rngs: nnx.Rngs, *, stable: bool):
        zeros = nnx.initializers.zeros_init()
        self.embed = nnx.Embed(CONFIG.vocabulary, CONFIG.width, rngs=rngs)
        if stable:
            self.injection = Injection(CONFIG.width, rngs)
        self.blocks = nnx.List([Block(CONFIG, rngs) for _ in range(CONFIG.layers)])
        self.final_norm = nnx.RMSNorm(CONFIG.width, rngs=rngs)
        self.head = nnx.Linear(CONFIG.width, CONFIG.vocabulary, use_bias=False, kernel_init=zeros, rngs=rngs)
        self.stable = stable

    def __call__(
        self, tokens: Int[Array, "B T"], loops: int = TRAINED
    ) -> tuple[Float[Array, "B T V"], Float[Array, " L"]]:
        """Give logits, and the RMS of the state after every loop."""
        e = self.embed(tokens)
        graph, state = nnx.split(self)

        def loop(h, _):
            model = nnx.merge(graph, state)
            h = model.injection(h, e) if model.stable else h + e
            for block in model.blocks:
                h = block(h)[0]
            return h, jnp.sqrt(jnp.mean(jnp.square(h)))

        h, sizes = jax.lax.scan(loop, jnp.zeros_like(e), length=loops)
        return self.head(self.final_norm(h)), sizes


def optimizer(model: Looped, rate: float, steps: int) -> optax.GradientTransformation:
    """Parcae's: rates fall over the second half, and decay works only where it agrees with the step."""
    fall = optax.linear_schedule(1.0, 0.0, steps // 2, steps - steps // 2)
    leaves = om.leaves_from_flax(model, rules=RULES if model.stable else ())
    muon = om.normuon(
        lambda count: rate * fall(count), weight_decay=om.transforms.cautious_decay(lambda count: 0.2 * fall(count))
    )
    adam = optax.adamw(lambda count: 3e-3 * fall(count), b1=0.8, b2=0.95, eps=1e-10, weight_decay=0.0)
    return om.for_matrices(muon, otherwise=adam, leaves=leaves)


def loss_of(model: Looped, tokens: Int[Array, "B T+1"], loops: int = TRAINED) -> Float[Array, ""]:
    """Mean cross-entropy of the next character, in nats."""
    logits, _ = model(tokens[:, :-1], loops)
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


def trained(model: Looped, ids: Array, steps: int, seed: int, rate: float = 0.02) -> dict[str, list[float]]:
    """Train a model in place, and give its decays on the way."""
    graph, params = nnx.split(model, nnx.Param)
    tx = optimizer(model, rate, steps)

    def step(carry: Any, key: Array) -> Any:
        params, state = carry
        tokens = data.sample(ids, key, BATCH, CONFIG.context)
        grads = jax.grad(lambda p: loss_of(nnx.merge(graph, p), tokens))(params)
        updates, state = tx.update(grads, state, params)
        merged = nnx.merge(graph, params)
        return (optax.apply_updates(params, updates), state), decay_report(merged.injection) if merged.stable else {}

    keys = jax.random.split(jax.random.key(seed), steps)
    (params, _), decays = jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), keys))(params)
    nnx.update(model, params)
    return {name: np.asarray(x).tolist() for name, x in decays.items()}


def measured(model: Looped, held_out: Int[Array, "B T+1"]) -> dict[str, Any]:
    """Give the loss by number of loops, and the size of the state after each of the last number of them."""
    losses = {n: float(nnx.jit(loss_of, static_argnames="loops")(model, held_out, loops=n)) for n in LOOPS}
    _, sizes = nnx.jit(lambda m, x: m(x, LOOPS[-1]))(model, held_out[:, :-1])
    return {"loss": losses, "size": np.asarray(sizes).tolist()}


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    steps = 4 if experiment.quick else 200
    text = texts.shakespeare().encode("ascii", "ignore")
    ids = jnp.asarray(np.frombuffer(text, np.uint8))
    held_out = data.windows(ids[int(0.95 * len(ids)) :], 64, CONFIG.context)
    found: dict[str, Any] = {}
    for name, stable in (("Parcae's injection", True), ("additive injection", False)):
        model = Looped(nnx.Rngs(experiment.seed), stable=stable)
        decays = trained(model, ids[: int(0.95 * len(ids))], steps, experiment.seed)
        found[name] = measured(model, held_out) | {"decay": decays}
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for name, numbers in found.items():
        left.loglog(range(1, LOOPS[-1] + 1), numbers["size"], label=name)
        middle.semilogx(list(numbers["loss"]), list(numbers["loss"].values()), "o-", label=name)
    left.set(title="state", xlabel="loop", ylabel="RMS")
    middle.set(title=f"held-out loss, trained at {TRAINED} loops", xlabel="loops", ylabel="nats")
    decays = found["Parcae's injection"]["decay"]
    for name, values in decays.items():
        right.plot(values, label=name)
    right.set(title="decay", xlabel="step", ylim=(0, 1))
    for ax in (left, middle, right):
        ax.legend()
    for numbers in found.values():
        numbers["size"] = {n: numbers["size"][n - 1] for n in LOOPS}
        numbers["decay"] = {name: {"first": x[0], "last": x[-1]} for name, x in numbers["decay"].items()}
    experiment.save(figure, found)


if __name__ == "__main__":
    main()
