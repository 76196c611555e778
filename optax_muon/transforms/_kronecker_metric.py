"""Any update rule for matrices, carried out in a geometry that the gradients' factors have whitened."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import optax
from jaxtyping import Array

from optax_muon.linalg import GradientOp, GramWhitening, Info, KroneckerWhitening, MatrixOp
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._reductions import norm_over, unit_over
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift, LiftState


class KroneckerMetricState(NamedTuple):
    """State of `in_kronecker_metric`.

    Attributes:
        factors: the whitening's, by path.
        inner: the inner transformation's state, in whitened coordinates.
    """

    factors: LiftState
    inner: optax.OptState


def in_kronecker_metric(
    inner: optax.GradientTransformation,
    whitening: GramWhitening | KroneckerWhitening,
    *,
    graft: bool = True,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Whiten before a rule and once more after it: the matrix twin of `in_diagonal_metric`.

    Use it around an orthogonaliser (Mousse), or a momentum and an orthogonaliser (FISMO), to take its step in the
    geometry of Shampoo's factors.

    .. math::
        D = P_L \, \text{inner}(P_L X P_R) \, P_R, \qquad
        U = D \, \|\text{inner}(P_L X P_R)\|_F / \|D\|_F \ (\text{grafted})

    Two exchanges between devices a step, beside those of ``inner``.

    Args:
        inner: an orthogonaliser or an oracle, with a momentum or without.
        whitening: what gives P_L and P_R: `linalg.GramWhitening` or `linalg.KroneckerWhitening`.
        graft: bring the result to the norm of the inner rule's.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh()`, on the local device where there is no mesh.

    ``update`` takes the raw gradients as ``gradients`` (see `with_gradients`); without, the updates are the gradients.

    State: the whitening's and the inner transformation's.

    References:
        Mousse, arXiv 2603.09697; FISMO, arXiv 2601.21750.
    """
    inner = optax.with_extra_args_support(inner)
    into = Lift(whitening, leaves, placement)

    def init_fn(params):
        factors: Any = into.init(params)
        return KroneckerMetricState(factors, inner.init(params))

    def update_fn(updates, state, params=None, *, gradients: Any = None, **extra_args):
        """Learn from the gradients and whiten, let the inner rule move, whiten again."""
        seen = updates if gradients is None else gradients
        now = dataclasses.replace(into, op=whitening.at(state.factors.count))
        before, factors, _ = now.apply(updates, state.factors, gradient=seen)
        moves, after = inner.update(before, state.inner, params, **(extra_args | {"gradients": seen}))
        again = Lift(_Again(whitening), leaves, placement)
        out, _, _ = again.apply(moves, factors)
        if graft:
            table, norms = into.resolve(updates), by_path(moves)

            def of_norm(path, d, like):
                leaf = table[path]
                length = norm_over(like, leaf)
                return (unit_over(d, leaf) * length).astype(like.dtype)

            out = map_by_path(of_norm, out, norms)
        return out, KroneckerMetricState(factors, after)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


@dataclasses.dataclass(frozen=True)
class _Again(MatrixOp):
    """Whiten by factors that are there, without learning."""

    real_only: ClassVar[bool] = True
    whitening: GradientOp

    def init(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Make the whitening's state."""
        return self.whitening.init(shape, dtype)

    def apply(self, x: Array, carry: Any, *, key: Array | None = None, **others: Array) -> tuple[Array, Any, Info]:
        """Return the whitened matrices, and the state as it is."""
        del key
        self.check_others(x, others)
        if not carry or 0 in x.shape:
            return x, carry, Info()
        assert isinstance(self.whitening, GramWhitening | KroneckerWhitening)
        return self.whitening.whitened(x, carry), carry, Info()
