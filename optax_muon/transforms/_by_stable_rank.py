"""One transformation for matrices of low stable rank, another for the rest."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_positive, require_whole
from optax_muon._types import Number
from optax_muon.linalg import FLOAT32, Info, MatrixOp
from optax_muon.linalg._scale import divide_by_largest_entry, unit_length
from optax_muon.linalg.subspace._low_rank import per_key
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift, LiftState


class LowRankChoiceState(NamedTuple):
    """State of `where_low_rank`.

    Attributes:
        choice: count of the random keys.
        low: state of the transformation for matrices of low rank.
        otherwise: state of the other.
    """

    choice: LiftState
    low: optax.OptState
    otherwise: optax.OptState


def where_low_rank(
    share: Number,
    tx: optax.GradientTransformation,
    otherwise: optax.GradientTransformation,
    *,
    power_steps: int = 3,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Apply ``tx`` to the matrices whose stable rank is low now, and ``otherwise`` to the rest.

    Use it in place of `alternate` where a matrix's spectrum is to say when it is orthogonalised: the trigger of
    LionMuon's code. Decay belongs inside where its rate is the step's.

    .. math::
        \|X\|_F^2 / \|X\|_{op}^2 \le a \min(m, n)

    Args:
        share: a, positive; 0.002 to 0.01 were tried by its authors, of which 0.008 and 0.01 were best.
        tx: a transformation for hidden matrices.
        otherwise: the other.
        power_steps: of the power iteration for the norm, from a random vector; few overestimate the rank.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh()`, on the local device where there is no mesh.
        seed: of the random vectors.

    Both compute at every step and for every matrix, and the states of both move: a choice, not a saving.

    State: that of both, and a count.

    Raises:
        ValueError: for numbers out of range; by ``init``, naming a leaf that is not a hidden matrix.

    References:
        github.com/brain-lab-research/lion-muon, ``srank_alpha``; LionMuon, arXiv 2605.19811.

    Example:
        >>> import jax.numpy as jnp, optax, optax_muon as om
        >>> tx = om.transforms.where_low_rank(0.6, optax.scale(10.0), otherwise=optax.identity())
        >>> grads = {"up": {"kernel": jnp.eye(2)}, "down": {"kernel": jnp.ones((2, 2))}}
        >>> updates, _ = tx.update(grads, tx.init(grads))
        >>> [float(updates[name]["kernel"][0, 0]) for name in ("up", "down")]
        [1.0, 10.0]
    """
    require_positive("where_low_rank", share=share)
    require_whole("where_low_rank: power_steps", power_steps)
    lift = Lift(_Choice(share, power_steps), leaves, placement, seed=seed)
    low, rest = optax.with_extra_args_support(tx), optax.with_extra_args_support(otherwise)

    def init_fn(params):
        choice: Any = lift.init(params)
        return LowRankChoiceState(choice, low.init(params), rest.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        """Let both act, and choose matrix by matrix."""
        one, first = low.update(updates, state.low, params, **extra_args)
        other, second = rest.update(updates, state.otherwise, params, **extra_args)
        chosen, choice, _ = lift.apply(updates, state.choice, low=one, otherwise=other)
        return chosen, LowRankChoiceState(choice, first, second)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


@dataclasses.dataclass(frozen=True)
class _Choice(MatrixOp):
    """Give one of two further matrices, by the stable rank of the first."""

    needs_key: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("low", "otherwise")

    share: Number
    power_steps: int

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Keep nothing between steps."""
        del shape, dtype
        return ()

    def apply(self, x: Array, carry: Any, *, key: Array | None = None, **others: Array) -> tuple[Array, Any, Info]:
        """Choose for every matrix."""
        self.check_others(x, others)
        if 0 in x.shape:
            return x, carry, Info()

        def is_low(matrix, key):
            """Estimate one matrix's stable rank."""
            unit = divide_by_largest_entry(matrix)
            v = jax.random.normal(key, (unit.shape[-1], 1), jnp.real(unit).dtype).astype(unit.dtype)
            for _ in range(self.power_steps):
                v = unit_length(FLOAT32.matmul(jnp.conj(unit.mT), FLOAT32.matmul(unit, v)), -2)
            top = FLOAT32.matmul(unit, v)
            # A product and no quotient: of a matrix of zeros both sides are none.
            return jnp.sum(jnp.abs(unit) ** 2) <= self.share * min(unit.shape) * jnp.sum(jnp.abs(top) ** 2)

        low = per_key("where_low_rank", is_low, x, key)[..., None, None]
        return jnp.where(low, others["low"], others["otherwise"]).astype(x.dtype), carry, Info()
