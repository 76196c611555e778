"""Local LMO."""

from typing import Literal

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike
from optax_muon.norms import Box, Domain


@card(
    kind="any",
    confidence="PARTIAL",
    state=StateSize(0),
    chain="step_inside",
    learning_rate=0.1,
    in_place=True,
    defaults={"domain": Box(-2.0, 2.0)},
)
def local_lmo(
    learning_rate: optax.ScalarOrSchedule,
    *,
    domain: Domain,
    trust: Literal["euclidean", "max"] = "euclidean",
    proportional: bool = False,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step to the best point of a set among those near the weights: Frank-Wolfe with a leash.

    For every leaf, where weights shall stay in a box, a ball or an affine space. Frank-Wolfe steps towards far corners
    of the set and goes back and forth where the optimum is on its boundary; these do not.

    .. math::
        W_t = \arg\min \, \langle G_t, Z \rangle \quad \text{over} \quad Z \in \mathcal{D}, \;
        \|Z - W_{t-1}\| \le \eta_t

    Args:
        learning_rate: the reach eta, of every matrix; in units of its gradient with ``proportional``.
        domain: `norms.Box`, `norms.Ball` or `norms.Affine`.
        trust: the norm of the step: Euclidean, or the largest entry's in a box.
        proportional: take the reach in units of the gradient's part that no bound holds, which converges with a
            constant rate.
        placement: unused, there being no matrix work to place; taken so that optimizers can be exchanged.
        state_dtype: unused, there being no average; steps are computed in float32 or wider.

    Differs from the paper in what its abstract leaves open: the reach, which with ``proportional`` makes steps those of
    projected gradient descent, and the closed forms, which are ours. Stochastic gradients want an average in front:
    ``optax.chain(om.transforms.ema(0.9), om.transforms.step_inside(...))``.

    References:
        Local LMO, arXiv 2605.08850.
    """
    del placement, state_dtype
    return optax.chain(
        transforms.step_inside(domain, learning_rate, trust=trust, proportional=proportional, leaves=leaves)
    )
