"""SPlus."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon import transforms
from optax_muon._registry import card
from optax_muon.linalg.subspace._eigenbasis import EigenBasis
from optax_muon.matrices._paths import map_by_path
from optax_muon.matrices._reductions import factors_over
from optax_muon.matrices._resolve import Leaves, findings
from optax_muon.placement._placement import Placement
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
    paper="Frans, Levine, Abbeel, A Stable Whitening Optimizer (SPlus), arXiv 2506.07254",
    confidence="EXACT",
    state="2 + 2 (m^2 + n^2) / (m n) for an m x n matrix, 2 for vectors",
    chain="average_params -> rotated(ema -> sign, EigenBasis), vectors in place -> decay -> learning rate -> shape",
    deviations="the parameters' average takes the weights before the step, as the authors' code does",
    learning_rate=0.2,
)
def splus(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Any = 0.9,
    decay: Any = 0.999,
    refresh_every: int = 100,
    max_side: int = 10000,
    average: float = 0.999,
    other_scale: float = 0.001,
    weight_decay: Any = 0.01,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
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
        momentum: the retained fraction mu, in [0, 1).
        decay: of the Gram matrices.
        refresh_every: updates between eigendecompositions.
        max_side: a side of this length or longer is left unrotated, and keeps no factor.
        average: the retained fraction of the parameters' average.
        other_scale: what multiplies the rate of all but matrices of the common kind.
        weight_decay: multiplied by the learning rate and the shape's factor.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the rotations are computed; None: on the spot.
        state_dtype: of the momentum and the parameters' average; None: the parameters' own.

    State: 2 floats per parameter, and 2 (m^2 + n^2) for an m x n matrix; a side of ``max_side`` or more keeps none.

    Differs from the authors' code: embeddings are told by role, not by name; routers count as matrices.

    References:
        arXiv 2506.07254; github.com/kvfrans/splus.
    """
    transforms.require_fraction("splus: momentum", momentum)
    signs = optax.chain(optax.ema(momentum, debias=False, accumulator_dtype=state_dtype), optax.scale_by_sign())
    # The authors rotate what is shorter than their limit, SOAP's what is no longer than its own.
    longest = max_side - 1 if max_side > 0 else max_side
    basis = EigenBasis(decay, refresh_every, longest, "decompose", count_from=1)
    turned = transforms.rotated(signs, basis, roles=MATRICES, leaves=leaves, placement=placement)

    def group(params: PyTree) -> PyTree[str]:
        return map_by_path(lambda path, x, found: found.leaf.role, params, findings(params, leaves))

    def shaped(path: str, x: Array, found: Any) -> Array:
        role = found.leaf.role
        if role not in MATRICES or role == "embedding":
            return x * jnp.asarray(other_scale, x.dtype)
        scale = _BySides(max_side, other_scale)
        return x * jnp.asarray(factors_over(scale, x.shape, found.leaf), x.dtype)

    def scale_fn(updates, state, params=None):
        del params
        return map_by_path(shaped, updates, findings(updates, leaves)), state

    groups: dict[Any, optax.GradientTransformation] = {"vector": signs, "other": signs, "frozen": optax.set_to_zero()}
    groups |= {role: turned for role in MATRICES}
    return optax.chain(
        transforms.average_params(average, accumulator_dtype=state_dtype),
        optax.multi_transform(groups, group),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
        optax.GradientTransformation(lambda params: optax.EmptyState(), scale_fn),
    )
