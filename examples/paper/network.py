"""The networks of the paper's experiments: matrices without biases, ReLU between them, cross-entropy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int


def create(seed: int, sizes: tuple[int, ...]) -> dict[str, dict[str, Array]]:
    """Draw W1 (first, second), W2, ...: uniform in +-1 / sqrt(inputs), as PyTorch does."""
    rng = np.random.default_rng(seed)
    shapes = list(zip(sizes[:-1], sizes[1:], strict=True))
    return {
        f"w{i + 1}": {"kernel": jnp.asarray(rng.uniform(-1, 1, shape) / np.sqrt(shape[0]), jnp.float32)}
        for i, shape in enumerate(shapes)
    }


def loss(params: dict, x: Float[Array, "N d"], y: Int[Array, " N"]) -> Float[Array, ""]:
    """Mean cross-entropy."""
    *hidden, last = (params[name]["kernel"] for name in sorted(params))
    for kernel in hidden:
        x = jax.nn.relu(x @ kernel)
    return optax.softmax_cross_entropy_with_integer_labels(x @ last, y).mean()
