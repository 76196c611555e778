"""Muon in forty lines: a small Flax model, what goes where, ten steps. No data needed."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import optax_muon as om


class MLP(nnx.Module):
    """Sixteen inputs to one output through two hidden matrices."""

    def __init__(self, rngs: nnx.Rngs):
        self.up = nnx.Linear(16, 64, rngs=rngs)
        self.mlp = nnx.Linear(64, 64, rngs=rngs)
        self.head = nnx.Linear(64, 1, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.mlp(nnx.relu(self.up(x)))))


model = MLP(nnx.Rngs(0))
tx = om.for_matrices(om.muon(0.05), otherwise=optax.adamw(1e-2))
print(om.describe(nnx.state(model, nnx.Param)))
optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

x = jax.random.normal(jax.random.key(0), (256, 16))
y = jnp.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3]


@nnx.jit
def step(model, optimizer):
    """One step of least squares."""
    loss, grads = nnx.value_and_grad(lambda model: jnp.mean((model(x) - y) ** 2))(model)
    optimizer.update(model, grads)
    return loss


for i in range(10):
    print(f"step {i}: loss {step(model, optimizer):.4f}")
