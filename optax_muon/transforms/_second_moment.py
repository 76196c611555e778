"""Second moments coarser than one per entry."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_fraction, require_positive
from optax_muon._renamed import renamed_arguments
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._scale import square_root
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._reductions import (
    entries_over,
    init_state,
    map_with_state,
    norm_over,
    reduced_like,
    sum_over,
)
from optax_muon.matrices._resolve import Leaves, accepted


class NeuronSecondMomentState(NamedTuple):
    """State of `normalize_neurons`.

    Attributes:
        mean_square: path -> average of the mean square of every neuron's vector, float32 or wider.
    """

    mean_square: PyTree


# What is summed over so that one number is left for every output, or for every input.
ACROSS: Mapping[str, Literal["reduction", "output"]] = MappingProxyType({"output": "reduction", "reduction": "output"})


@renamed_arguments(epsilon="eps")
def normalize_neurons(
    decay: Any,
    *,
    eps: float = 1e-10,
    side: Literal["output", "reduction"] = "output",
    skip_zeros: bool = False,
    leaves: Leaves | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Divide every output's vector by its running RMS, and keep each matrix's Frobenius norm.

    Use it after an orthogonaliser, so that no neuron of a tall matrix moves faster than the others.

    .. math::
        v_o &= \beta v_o + (1 - \beta) \operatorname{mean}_i X_{io}^2, \qquad
        Y_{io} = X_{io} / (\sqrt{v_o} + \epsilon) \\
        U &= Y \, \|X\|_F / (\|Y\|_F + \epsilon)

    v starts at zero; a bias correction would be a common factor, which the last line removes.

    Args:
        decay: beta, in [0, 1).
        eps: > 0, added to lengths and norms; keeps zero vectors finite.
        side: whose vectors are neurons; ``reduction`` evens out the inputs' instead, of a wide matrix for instance.
        skip_zeros: an output whose vector is zero keeps its v, for a momentum that emits some outputs at a time, as
            `sliced_momentum` does.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Raises:
        ValueError: for a decay outside [0, 1), an eps that is not positive or an unknown side; by ``init``, naming a
            leaf that is not a hidden matrix.

    State: 1 float per output of every matrix, or per input.

    References:
        Li et al., NorMuon, arXiv 2510.05491.
    """
    require_fraction("normalize_neurons: decay", decay)
    require_positive("normalize_neurons", eps=eps)
    if side not in ACROSS:
        raise ValueError(f"normalize_neurons: side must be 'output' or 'reduction', not {side!r}")

    def init_fn(params):
        """Start from zeros, one per neuron of every matrix."""

        def zeros(x: Array, leaf: Leaf) -> Array:
            return reduced_like(x, leaf, ACROSS[side], dtype=jnp.finfo(accumulator_dtype(x.dtype)).dtype)

        return NeuronSecondMomentState(init_state(zeros, params, accepted(params, leaves)))

    def normalized(x: Array, leaf: Leaf, v: Array) -> tuple[Array, Array]:
        """Normalise the matrices of one parameter, and return their new averages."""
        wide = x.astype(accumulator_dtype(x.dtype))
        # Behind an orthogonaliser entries are at most about 1: their squares need no scaling.
        total = sum_over(jnp.square(jnp.abs(wide)), leaf, ACROSS[side])
        mean = total / jnp.asarray(entries_over(x.shape, leaf, ACROSS[side]), total.dtype)
        new = decay * v + (1 - decay) * mean
        v = jnp.where(mean == 0, v, new) if skip_zeros else new
        y = wide / (square_root(v) + eps)
        # The norm is put back, so that a shape scale tuned for Muon's updates still holds.
        return (y * (norm_over(wide, leaf) / (norm_over(y, leaf) + eps))).astype(x.dtype), v

    def update_fn(updates, state, params=None, **extra_args):
        """Normalise every matrix."""
        del params, extra_args
        updates, v = map_with_state(normalized, updates, accepted(updates, leaves), state.mean_square)
        return updates, NeuronSecondMomentState(v)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
