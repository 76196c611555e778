"""What a user writes, for type checkers to read: nothing here may be an error."""

import functools

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon import Leaf, OverMesh, for_matrices, muon, registry

adam = optax.adamw(3e-4)
schedule = optax.warmup_cosine_decay_schedule(0.0, 0.02, 100, 1000)

# The one-liner, with what its signature offers.
plain: optax.GradientTransformationExtraArgs = om.for_matrices(om.muon(0.02), otherwise=adam)
rich = om.muon(
    schedule,
    orthogonalizer=om.linalg.NewtonSchulz(om.linalg.JORDAN_2024, arithmetic=om.linalg.BFLOAT16),
    momentum=0.9,
    nesterov=False,
    weight_decay=0.1,
    shape_scale=om.shapes.RMSMatch(0.2),
    state_dtype=jnp.float32,
)
traced = jax.jit(lambda rate, grads: om.muon(rate, momentum=rate).update(grads, om.muon(rate).init(grads)))
axes = om.for_matrices(
    functools.partial(muon, 0.02),
    adam,
    rules=[("layers/*/kernel", om.Leaf("hidden", 1, 2)), ("lm_out/*", "head"), ("old/*", "frozen")],
)
by_hand = for_matrices(
    functools.partial(om.soap, 3e-3), adam, leaves={"a": Leaf("hidden", reduction=0, output=(1, 2), split=(4, 4))}
)

# A chain of one's own, partitions of Optax, wrappers.
chain = optax.chain(
    om.transforms.nesterov_ema(0.95),
    om.transforms.apply_to_matrices(om.linalg.best(), placement=om.OverMesh(max_bytes=1 << 28)),
    om.transforms.scale_by_shape(om.shapes.Jordan()),
    optax.add_decayed_weights(0.1),
    optax.scale_by_learning_rate(schedule),
)
partition = optax.multi_transform({"hidden": chain, "embedding": adam, "head": adam, "vector": adam}, om.labels())
accumulated = om.multi_steps(plain, 4)
by_role = om.scion(0.01, placement=om.Local(max_bytes=0), leaves=lambda params: om.leaves(params))
whole = om.gluon(1.0, radii={"hidden": om.norms.Smoothness(8.0, 2.0), "vector": 0.01}, norms={"head": om.norms.Max()})

# Parameters, tables, shardings.
params = {"up": {"kernel": jnp.eye(4), "bias": jnp.zeros(4)}}
table: om.Leaf = om.leaves(params)["up"]["kernel"]
print(om.describe(params), om.label(params), table.role, table.reduction[0])
mesh = jax.make_mesh((1,), ("x",))
shardings = jax.tree.map(lambda x: NamedSharding(mesh, P()), params)
placed = om.state_shardings(plain, params, shardings)
numbers = om.dimension_numbers(om.leaves({"up": {"kernel": jnp.eye(4)}}))


class MLP(nnx.Module):
    """One hidden matrix."""

    def __init__(self, rngs: nnx.Rngs):
        self.up = nnx.Linear(4, 4, rngs=rngs)


model = MLP(nnx.Rngs(0))
told = om.leaves_from_flax(model)
optimizer = nnx.Optimizer(model, om.for_matrices(functools.partial(om.muon, 0.02), adam, leaves=told), wrt=nnx.Param)

# A step.
state = plain.init(params)
updates, state = plain.update(params, state, params)
params = optax.apply_updates(params, updates)
smooth = om.eval_params(state, params)

# The registry, maps, norms, measures.
card: om.Card = registry["muon"]
built: optax.GradientTransformation = card.make(0.02, **card.defaults)
names: list[str] = [name for name, entry in om.registry.items() if entry.kind == "matrix"]
x = jnp.eye(3)
polar: jax.Array = om.linalg.SVDPolar().apply(x)
op: om.linalg.MatrixOp = om.linalg.Composed(om.linalg.Center("reduction"), om.linalg.best())
y, carry, info = op.apply(x, op.init(x.shape, x.dtype))
dual: jax.Array = om.norms.Spectral().dual(x)
step: jax.Array = om.norms.Spectral().lmo(x, 0.5)
rank = om.diagnostics.nuclear_rank(x)
reports: OverMesh = OverMesh(slow_axes=("hosts",))
