"""Scion."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon import norms as om_norms
from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralMap, SVDPolar
from optax_muon.matrices._paths import map_by_path
from optax_muon.norms import Norm


@card(
    kind="roles",
    confidence="EXACT",
    state=StateSize(1),
    chain="ema -> apply_by_role -> decay -> learning rate",
)
def scion(
    learning_rate: optax.ScalarOrSchedule,
    *,
    norms: Mapping[str, Norm] | None = None,
    radii: Mapping[str, Any] | float = 1.0,
    momentum: Number = 0.9,
    weight_decay: WeightDecay = 1.0,
    orthogonalizer: SpectralMap | None = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step every parameter along the oracle of its role's norm, inside a ball of that norm.

    For the whole tree, without Adam. With the default decay it is the constrained form (Frank-Wolfe): weights that
    start inside a ball stay inside. ``weight_decay=0`` is the unconstrained form.

    .. math::
        D_t &= \mu D_{t-1} + (1 - \mu) G_t, \qquad D_0 = 0 \\
        W_t &= (1 - \eta_t \lambda) W_{t-1} - \eta_t \rho \operatorname{lmo}_1(D_t)

    Args:
        learning_rate: the fraction of the way to the ball's boundary, at most :math:`1 / \lambda`; 2^-12 with the
            radii below trains a nanoGPT.
        norms: role or path glob -> norm, over the defaults of `norms.for_roles`; globs win over roles. Convolutions
            need a glob: ``{"conv*/kernel": norms.SpectralConv(9)}``.
        radii: rho, one for all or by key of ``norms``, 1 where none is given. The authors: hidden 50, head 3000
            (nanoGPT); hidden 25, head 500 (DeiT); hidden 8, head 128 (airbench).
        momentum: the decay rate mu, in [0, 1); the authors' ``momentum`` is 1 - mu.
        weight_decay: lambda; the ball's radius is rho / lambda.
        orthogonalizer: of the default norms; default that of `norms.Spectral`.
        state_dtype: of the average.

    Differs from the authors' code: norms have no epsilon; embeddings get the l1-to-RMS norm, where the authors tie
    them to the head. Their ScionLight takes the same steps.

    References:
        Pethick et al., Training Deep Learning Models with Norm-Constrained LMOs, arXiv 2502.07529, algorithms 1 and 2;
        github.com/LIONS-EPFL/scion.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> params = {"up": {"kernel": jnp.eye(4), "bias": jnp.zeros(4)}}
        >>> tx = om.scion(0.01, radii={"hidden": 50.0})
        >>> updates, state = tx.update(params, tx.init(params), params)
    """
    transforms.require_fraction("scion: momentum", momentum)
    chosen = om_norms.for_roles(orthogonalizer) | dict(norms or {})
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.ema(momentum),
        on.apply_by_role(om_norms.oracles(chosen, radii)),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def scion_init(
    key: Array,
    params: PyTree,
    *,
    norms: Mapping[str, Norm] | None = None,
    radii: Mapping[str, Any] | float = 1.0,
    leaves: Leaves | None = None,
) -> PyTree:
    """Draw weights on the boundary of the balls in which `scion` moves: the oracle of Gaussian matrices.

    Hidden matrices come out orthogonal, heads as signs, embeddings as directions; vectors are zero.

    Args:
        key: a random key.
        params: the tree whose shapes and dtypes are wanted.
        norms: as for `scion`; the defaults decompose exactly.
        radii: as for `scion`, and so ``leaves``.
        leaves: see there.
    """
    chosen = om_norms.for_roles(SVDPolar()) | dict(norms or {})
    tx = transforms.apply_by_role(om_norms.oracles(chosen, radii), leaves=leaves)
    boundary, _ = tx.update(optax.tree.random_like(key, params, sampler=jax.random.normal), tx.init(params))
    keys = transforms.keys_by_path(params, chosen, leaves)
    return map_by_path(lambda path, x, role: jnp.zeros_like(x) if role == "vector" else x, boundary, keys)
