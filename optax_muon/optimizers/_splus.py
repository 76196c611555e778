"""SPlus."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg.subspace._eigenbasis import EigenBasis
from optax_muon.matrices._paths import map_by_path
from optax_muon.matrices._reductions import factors_over
from optax_muon.matrices._resolve import findings
from optax_muon.shapes import ShapeScale

MATRICES = ("hidden", "embedding", "head", "router")


@dataclasses.dataclass(frozen=True)
class _BySides(ShapeScale):
    """``2 / (reduction + output)``, and ``other`` for matrices that are not rotated for their size."""

    max_side: int
    other: float

    def factor(self, reduction: int, output: int) -> float:
        """Give the factor."""
        return 2 / (reduction + output) if max(reduction, output) < self.max_side else self.other


@card(
    kind="roles",
    confidence="EXACT",
    state=StateSize(2, "2 * (inputs**2 + outputs**2)", note="a side of ``max_side`` or more keeps none"),
    chain="average_params -> multi_transform(ema -> scale_by_sign | set_to_zero | rotated(ema -> "
    "scale_by_sign)) -> decay -> learning rate -> scale_by_sides",
    learning_rate=0.2,
    renamed={"decay": "second_moment_decay", "average": "average_decay"},
)
def splus(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Number = 0.9,
    second_moment_decay: Number = 0.999,
    refresh_every: int = 100,
    max_side: int = 10000,
    average_decay: float = 0.999,
    other_scale: float = 0.001,
    weight_decay: WeightDecay = 0.01,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Take signs in the eigenbasis of the averaged Gram matrices, and evaluate at an average of the weights.

    For the whole tree. Evaluate with `optax_muon.eval_params`, always.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad U_t = Q_L \operatorname{sign}(Q_L^T M_t Q_R) Q_R^T \\
        W_t &= W_{t-1} - \eta_t \, \frac{2}{m + n} \left( U_t + \lambda W_{t-1} \right)

    The bases are I at the first update, eigenvectors after it, and are renewed every ``refresh_every`` updates.
    Vectors, embeddings and matrices with a side of ``max_side`` or more take ``other_scale`` instead of 2 / (m + n);
    vectors take plain signs.

    Args:
        learning_rate: about 0.2, or AdamW's times twice the width.
        second_moment_decay: of the Gram matrices.
        refresh_every: updates between eigendecompositions.
        max_side: a side of this length or longer is left unrotated, and keeps no factor.
        average_decay: of the parameters' average, which takes the weights before each step.
        other_scale: what multiplies the rate of all but matrices of the common kind.
        weight_decay: multiplied by the learning rate and the shape's factor.
        state_dtype: of the momentum and the parameters' average.

    Differs from the authors' code: embeddings are told by role, not by name; routers count as matrices.

    References:
        Frans, Levine, Abbeel, A Stable Whitening Optimizer (SPlus), arXiv 2506.07254; github.com/kvfrans/splus.
    """
    transforms.require_fraction("splus: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    signs = optax.chain(on.ema(momentum), optax.scale_by_sign())
    # The authors rotate what is shorter than their limit, SOAP's what is no longer than its own.
    longest = max_side - 1 if max_side > 0 else max_side
    basis = EigenBasis(second_moment_decay, refresh_every, longest, "decompose", count_from=1)
    turned = on.bind(transforms.rotated)(signs, basis, roles=MATRICES)

    def group(params: PyTree) -> PyTree[str]:
        return map_by_path(lambda path, x, found: found.leaf.role, params, findings(params, leaves))

    groups: dict[Any, optax.GradientTransformation] = {"vector": signs, "other": signs, "frozen": optax.set_to_zero()}
    groups |= {role: turned for role in MATRICES}
    return optax.chain(
        on.bind(transforms.average_params)(average_decay),
        optax.multi_transform(groups, group),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
        _scale_by_sides(_BySides(max_side, other_scale), leaves),
    )


def _scale_by_sides(scale: _BySides, leaves: Leaves | None) -> optax.GradientTransformation:
    def shaped(path: str, x: Array, found: Any) -> Array:
        role = found.leaf.role
        if role not in MATRICES or role == "embedding":
            return x * jnp.asarray(scale.other, x.dtype)
        return x * jnp.asarray(factors_over(scale, x.shape, found.leaf), x.dtype)

    def update_fn(updates, state, params=None):
        del params
        return map_by_path(shaped, updates, findings(updates, leaves)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update_fn)
