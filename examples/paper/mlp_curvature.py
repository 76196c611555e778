"""J_t, L_t and both norms of the gradient of W2 along gradient descent and Muon, figure 2.

MLP 784-128-64-10 on 60 digits, full batch; Muon is algorithm 2 (exact polar factor, no momentum) on all three
matrices. H_t is the Hessian's block of W2 alone. At one point of Muon's run the 8192 x 8192 block is formed and
decomposed, as a check of the matrix-free values. The paper found the best step of both methods to be 0.1; here Muon's
loss is zero in float32 after 25 such steps, so that its run is measured at 0.01.

    python examples/paper/mlp_curvature.py
"""

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import images
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from paper import network
from paper.experiment import start

import optax_muon as om

RATES = (0.01, 0.05, 0.1, 0.5)  # of the paper's grid, 0.001 to 1
RULES = [("w1/*", "other"), ("w3/*", "other")]  # only W2 is measured


def methods() -> dict[str, optax.GradientTransformation]:
    """Directions of both methods; the rate is applied outside."""
    return {"GD": optax.identity(), "Muon": om.transforms.apply_to_matrices(om.linalg.SVDPolar())}


def dense(params: dict, x: jax.Array, y: jax.Array) -> tuple[float, float]:
    """J_t and L_t from the whole block of W2."""
    kernel = params["w2"]["kernel"]

    def gradient(flat):
        return jax.grad(network.loss)(params | {"w2": {"kernel": flat.reshape(kernel.shape)}}, x, y)["w2"]["kernel"]

    flat = kernel.ravel()
    column = jax.jit(lambda v: jax.jvp(gradient, (flat,), (v,))[1].ravel())
    hessian = np.asarray(jax.jit(lambda v: jax.lax.map(column, v, batch_size=128))(jnp.eye(flat.size)))
    o = np.asarray(om.linalg.SVDPolar().apply(gradient(flat))).ravel()
    ends = np.linalg.eigvalsh((hessian + hessian.T) / 2)[[0, -1]]
    return float(o @ hessian @ o), float(np.abs(ends).max())


def run(name: str, params: dict, data: tuple[Any, Any], rate: float, steps: int, every: int, check_at: int) -> dict:
    """Train and measure every few steps."""
    direction = methods()[name]
    measure = jax.jit(lambda params: om.diagnostics.measure(network.loss, params, *data, rules=RULES)["w2/kernel"])

    @jax.jit
    def train(params):
        def step(params, _):
            value, grads = jax.value_and_grad(network.loss)(params, *data)
            updates, _ = direction.update(grads, direction.init(params), params)
            return jax.tree.map(lambda w, u: w - rate * u, params, updates), value

        return jax.lax.scan(step, params, length=every)

    seen, losses, check = [], [], {}
    for t in range(0, steps + 1, every):
        seen.append((t, jax.tree.map(lambda x: float(x[0]), measure(params))))
        if t == check_at:
            j, top = dense(params, *data)
            m = seen[-1][1]
            check = {
                "step": t,
                "J_t": [m.step_curvature, j],
                "L_t": [m.top_curvature, top],
                "relative error": [abs(m.step_curvature / j - 1), abs(m.top_curvature / top - 1)],
            }
        params, values = train(params)
        losses.extend(np.asarray(values).tolist())
    return {"measured": seen, "loss": losses[: steps + 1], "check": check}


def tune(params: dict, data: tuple[Any, Any], steps: int) -> dict[str, dict[str, float]]:
    """Final loss of both methods by rate."""
    table = {}
    for name, direction in methods().items():

        @jax.jit
        def final(params, rate, direction=direction):
            def step(params, _):
                grads = jax.grad(network.loss)(params, *data)
                updates, _ = direction.update(grads, direction.init(params), params)
                return jax.tree.map(lambda w, u: w - rate * u, params, updates), None

            return network.loss(jax.lax.scan(step, params, length=steps)[0], *data)

        table[name] = {rate: float(final(params, rate)) for rate in RATES}
    return table


def numbers(result: dict) -> dict:
    m = [x for _, x in result["measured"]]
    j, top = (np.array([getattr(x, name) for x in m]) for name in ("step_curvature", "top_curvature"))
    nuclear, frobenius = (np.array([getattr(x, name) for x in m]) ** 2 for name in ("nuclear", "frobenius"))
    half = max(1, len(m) // 2)
    return {
        "final loss": result["loss"][-1],
        "condition holds, share": np.mean(j / top <= nuclear / frobenius),
        "J_t > 0, share": np.mean(j > 0),
        "J_t < L_t, share of the first half": np.mean(j[:half] < top[:half]),
        "J_t < L_t, share of the second half": np.mean(j[half:] < top[half:]),
        "J_t / L_t, first and last": [j[0] / top[0], j[-1] / top[-1]],
        "nuclear^2 / Frobenius^2, first and last": [nuclear[0] / frobenius[0], nuclear[-1] / frobenius[-1]],
        "gain, smallest and median where J_t > 0": _gain((nuclear / j / (frobenius / top))[j > 0]),
        "dense check, matrix-free beside dense": result["check"],
    }


def _gain(gain: np.ndarray) -> list[float]:
    return [gain.min(), np.median(gain)] if gain.size else []


def draw(results: dict[str, dict]) -> Figure:
    figure = Figure(figsize=(14, 7), layout="constrained")
    for row, (name, result) in zip(figure.subplots(2, 4), results.items(), strict=True):
        steps, m = zip(*result["measured"], strict=True)
        nuclear, frobenius = (np.array([getattr(x, field) for x in m]) ** 2 for field in ("nuclear", "frobenius"))
        j, top = (np.array([getattr(x, field) for x in m]) for field in ("step_curvature", "top_curvature"))
        row[0].semilogy(result["loss"])
        row[0].set(title=f"{name}: loss")
        row[1].plot(steps, j, label="J_t")
        row[1].plot(steps, top, label="L_t")
        row[1].set(title="curvature", yscale="symlog")
        row[2].semilogy(steps, nuclear, label="nuclear^2")
        row[2].semilogy(steps, frobenius, label="Frobenius^2")
        row[2].set(title="gradient of W2")
        row[3].semilogy(steps, np.where(j > 0, nuclear / j, np.nan), label="nuclear^2 / J_t")
        row[3].semilogy(steps, frobenius / top, label="Frobenius^2 / L_t")
        row[3].set(title="gains (gaps where J_t <= 0)")
        for ax in row:
            ax.set_xlabel("iteration")
            if ax.get_legend_handles_labels()[0]:
                ax.legend()
    return figure


def main(argv: list[str] | None = None) -> None:
    experiment = start(__file__, __doc__, argv)
    digits = images.mnist(experiment.seed)
    count, sizes = (20, (784, 16, 8, 10)) if experiment.quick else (60, (784, 128, 64, 10))
    steps, every, check_at = (4, 2, 2) if experiment.quick else (160, 4, 40)
    data = jnp.asarray(digits.train[:count]), jnp.asarray(digits.train_labels[:count])
    params = network.create(experiment.seed, sizes)
    settings = {"GD": (0.1, -1), "Muon": (0.01, check_at)}  # the decomposition takes a minute: once only
    results = {name: run(name, params, data, rate, steps, every, at) for name, (rate, at) in settings.items()}
    grid = {} if experiment.quick else {"loss after 50 steps by rate": tune(params, data, 50)}
    experiment.save(draw(results), {name: numbers(result) for name, result in results.items()} | grid)


if __name__ == "__main__":
    main()
