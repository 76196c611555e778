"""SUDA-Muon."""

from typing import Literal

import optax

from optax_muon import shapes, workers
from optax_muon._options import Leaves, Placement, WeightDecay
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap
from optax_muon.optimizers._demuon import demuon


@card(
    kind="matrix",
    confidence="OUR READING",
    state=StateSize(1, note="2 more where there are other workers"),
    chain="ema -> track -> orthogonalize -> scale_by_shape -> decay -> learning rate -> suda",
)
def suda_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    graph: workers.Graph = workers.Ring(),  # noqa: B008 - immutable
    backbone: Literal["ed", "extra", "gt"] = "ed",
    axis_name: workers.AxisName = None,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Muon on workers that hear their neighbours alone, with a dual variable that brings their weights together.

    For hidden matrices only. `demuon` with another way of mixing weights: a constant rate leaves less between workers
    whose data differ.

    .. math::
        W^+ = A (C W - \eta_t D) - Z, \qquad Z^+ = Z + B W^+, \qquad
        D_i = c(\text{shape}) \operatorname{orth}(V_i) + \lambda W_i, \qquad V \text{ as in `demuon`}

    A, B and C are those of `workers.suda`.

    Args:
        learning_rate: the size of an update in spectral norm, before the shape scale.
        graph: who hears whom and with what weights, a symmetric `workers.Graph`; exact diffusion and EXTRA need its
            smallest eigenvalue above -1/3, which the plain ring of an even number of workers has not.
        backbone: "ed", "extra" or "gt", see `workers.suda`.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`; None: one worker, which is Muon without
            look-ahead.
        state_dtype: of momentum and estimate.

    Differs from the paper by what of it was seen, the abstract: how V is mixed was not, and is as in DeMuon. The paper
    says of itself that it was written by a machine's pipeline, and no review is known.

    References:
        Zhang, Kong, Geng, Huang, SUDA-Muon, arXiv 2604.23980; Alghunaim and Yuan, SUDA.
    """
    return demuon(
        learning_rate,
        graph=graph,
        mixing=workers.suda(graph, axis_name, backbone),
        axis_name=axis_name,
        orthogonalizer=orthogonalizer,
        momentum=momentum,
        weight_decay=weight_decay,
        shape_scale=shape_scale,
        leaves=leaves,
        placement=placement,
        state_dtype=state_dtype,
    )
