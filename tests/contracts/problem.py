"""One small problem with every kind of leaf, and the way to build any card's optimizer for it."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_muon as om
from optax_muon.matrices._paths import by_path
from optax_muon.placement._local import Local
from optax_muon.placement._placement import Placement

MATRICES = {
    "square/kernel": ((6, 6), om.Leaf("hidden", 0, 1)),
    "tall/kernel": ((12, 6), om.Leaf("hidden", 0, 1)),
    "wide/kernel": ((6, 12), om.Leaf("hidden", 0, 1)),
    "row/kernel": ((1, 6), om.Leaf("hidden", 0, 1)),
    "stacked/kernel": ((2, 6, 12), om.Leaf("hidden", 1, 2)),
    "conv/kernel": ((3, 2, 6), om.Leaf("hidden", (0, 1), 2)),
    "fused/kernel": ((6, 18), om.Leaf("hidden", 0, 1, split=(6, 6, 6))),
}
OTHERS = {
    "embed/embedding": ((8, 6), om.Leaf("embedding", 0, 1)),
    "lm_head/kernel": ((6, 8), om.Leaf("head", 0, 1)),
    "square/bias": ((6,), om.Leaf("vector")),
    "stacked/bias": ((2, 12), om.Leaf("vector")),
}
LEAVES = {path: leaf for path, (_, leaf) in (MATRICES | OTHERS).items()}
RULES = list(LEAVES.items())


def pair(params: dict) -> dict[str, str]:
    """Take two matrices for the factors of one, where both are there."""
    paths = ("tall/kernel", "wide/kernel")
    return dict([paths]) if set(paths) <= by_path(params).keys() else {}


# Rules for the factors of a product, whose matrix work a placement carries out.
PAIRED = {name: {"pairs": pair} for name in ("lora_muon", "intrinsic_muon")}


def nested(flat: dict) -> dict:
    """Turn {"a/b": x} into {"a": {"b": x}}."""
    tree: dict = {}
    for path, value in flat.items():
        module, name = path.split("/")
        tree.setdefault(module, {})[name] = value
    return tree


# Where a rule itself makes much of rounding, two layouts of one computation cannot be compared with its defaults.
SHARDED = {
    # A gradient seen twice is diagonal in its own bases, and the rounding elsewhere is normalised to one.
    "soap": {"eps": 1e-2},
    "muadam": {"eps": 1e-3},
    # Small eigenvalues of the other factor's Gram matrix are divided by, and rounding with them.
    "intrinsic_muon": {"floor": 1e-2},
    # Steps on blocks are others on another layout: that is the rule.
    "muon_bp": {"period": 1},
    # The rest of a subspace as large as the matrix is small, and is brought to full size.
    "cosmos": {"rank": 2},
    # Signs are taken along bases of null spaces, which are arbitrary: only sides of full rank are rotated.
    "splus": {"max_side": 7, "other_scale": 0.1, "leaves": nested(LEAVES | {"row/kernel": om.Leaf("vector")})},
}
# Fewer steps of a dual than users take: what is promised of a step holds after every number of them.
SHORTER = {"manifold_muon": {"dual_steps": 3}, "sso": {"rounds": 4, "power_steps": 4}}
CONFINED = {"manifold_muon", "spel", "sso"}  # to where a target must be too
TURNING = {
    "hyperball",
    "muon_h",
    "muown",
} | CONFINED  # they turn weights: zero has no direction, and a long step no slope
AHEAD = {"muon_igt": 40, "transported_scion": 40}  # updates by which parameters run ahead, and rounding with them
# Times the common rate, where a shape scale makes that one tiny, or where it is an angle, every output's step, or that
# of meetings.
RATES = {"diloco": 14.0, "dion2": 3.0, "dion3": 3.0, "loscar": 2.0, "muon_h": 2.0, "nora": 0.4, "splus": 10.0}
COUNT = 10  # matrices among MATRICES: five alone, two stacked, three fused


def tree(seed: int, dtype=jnp.float32) -> dict:
    """Random arrays in the shapes of the problem, of size 0.1."""
    rng = np.random.default_rng(seed)
    return nested(
        {path: jnp.asarray(0.1 * rng.normal(size=shape), dtype) for path, (shape, _) in (MATRICES | OTHERS).items()}
    )


def loss(params: dict, target: dict) -> jax.Array:
    """Half the squared distance to the target."""
    return 0.5 * sum(jnp.sum(jnp.square(a - b)) for a, b in zip(*map(jax.tree.leaves, (params, target)), strict=True))


@dataclasses.dataclass
class Probe(Placement):
    """Computes on the spot, and counts the matrices that came by: proof that the matrix path ran."""

    seen: int = 0
    max_bytes: int = 1 << 20

    def run(self, op, works: Sequence):
        self.seen += sum(int(np.prod(done.shape[:-2])) for work in works for done in _stacks(work))
        return Local(self.max_bytes).run(op, works)


def _stacks(work):
    from optax_muon.matrices._leaf import as_matrices

    return as_matrices(work.array, work.leaf)


def build(
    card: om.Card, learning_rate=0.05, *, placement=None, leaves=None, options=None
) -> optax.GradientTransformation:
    """Build a card's optimizer for the whole tree: a matrix card through `for_matrices`, with Adam beside it."""
    options = card.defaults | SHORTER.get(card.name, {}) | PAIRED.get(card.name, {}) | (options or {})
    leaves = options.pop("leaves", leaves)
    make = functools.partial(card.make, _times(learning_rate, RATES.get(card.name)), placement=placement, **options)
    if card.kind in ("roles", "any"):
        return make(leaves=leaves or nested(LEAVES))
    tx = om.for_matrices(make, otherwise=optax.adam(0.05), leaves=leaves, rules=RULES if leaves is None else ())
    return with_extra_args(card, tx)


def with_extra_args(card: om.Card, tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Pass what a card's update cannot do without, beside the gradients."""
    if "grads_at_previous_params" in card.extra_args:
        return with_second_gradient(tx)
    if "input_moments" not in card.extra_args:
        return tx
    inner = optax.with_extra_args_support(tx)

    def update_fn(updates, state, params=None, **extra_args):
        return inner.update(updates, state, params, **extra_args, input_moments=input_moments(updates))

    return optax.GradientTransformationExtraArgs(inner.init, update_fn)


def extra_args(card: om.Card, grads: dict) -> dict:
    """What a card's update cannot do without, made of these gradients."""
    made = {"grads_at_previous_params": lambda: grads, "input_moments": lambda: input_moments(grads)}
    return {name: made[name]() for name in card.extra_args}


def input_moments(tree: dict) -> dict[str, jax.Array]:
    """A second moment of inputs for every matrix of the problem, or of another tree as its last two axes say."""
    found = {}
    for path, x in by_path(tree).items():
        shape, leaf = MATRICES.get(path, (x.shape, om.Leaf("hidden", x.ndim - 2, x.ndim - 1) if x.ndim > 1 else None))
        if leaf is not None:
            found[path] = jnp.diag(jnp.linspace(1.0, 2.0, math.prod(shape[axis] for axis in leaf.reduction)))
    return found


def _times(rate, factor):
    if factor is None:
        return rate
    return (lambda count: factor * rate(count)) if callable(rate) else factor * rate


def with_second_gradient(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Pass the gradient at the previous parameters as well: that of `loss` differs from the given one as they do."""

    def update_fn(updates, state, params, **extra_args):
        before = jax.tree.map(lambda g, p, old: g - (p - old), updates, params, state.previous)
        return remembering.update(updates, state, params, grads_at_previous_params=before, **extra_args)

    remembering = om.remember_previous_params(tx)
    return optax.GradientTransformationExtraArgs(remembering.init, update_fn)
