"""Muon-OGD, and the subspaces that it protects."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from optax_muon import transforms
from optax_muon._numbers import require_whole
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import Interference, SpectralMap
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._leaf import matrix_shapes
from optax_muon.matrices._paths import by_path
from optax_muon.matrices._resolve import findings

FIRST = Interference(lambda length: np.eye(length, 1), lambda length: np.eye(length, 1))


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, "inputs + outputs + 1", note="with one protected input and output; see Args"),
    chain="ema -> protect_subspaces -> decay -> learning rate",
    learning_rate=0.02,
    defaults={"subspaces": {"*": FIRST}},
)
def muon_ogd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    subspaces: Mapping[str, Interference],
    dual_steps: int = 5,
    dual_rate: Number = 0.05,
    warm_start: bool = True,
    orthogonalizer: SpectralMap | None = None,
    momentum: Number = 0.0,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Muon on a new task along directions that leave what layers do with an old task's inputs.

    For hidden matrices in continual learning and fine-tuning: what was learned before is kept without a copy of the
    old data.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad D_t = \operatorname{orth}(M_t + V \Lambda U^T) \\
        \Lambda &\leftarrow \Lambda - \rho V^T D U \quad (\text{several times a step, before it}), \qquad
        W_t = W_{t-1} - \eta_t (D_t + \lambda W_{t-1})

    for weights stored (inputs, outputs).

    Args:
        learning_rate: the size of an update in spectral norm.
        subspaces: path or glob -> `linalg.Interference` with V and U, k inputs and l outputs; the state then has k
            inputs + l outputs + k l floats for each matrix. `protected` makes them of activations; matrices without
            an entry are Muon's.
        dual_steps: orthogonalisations that a protected matrix costs beside its own.
        dual_rate: rho, in units of the momentum; about 0.05. The authors' 1e-4 at one step a time hardly protects.
        warm_start: start from the multipliers of the last step.
        momentum: the decay rate mu of an average in front, in [0, 1); 0 as in the authors' scripts.

    Where all outputs are protected, U = I, the multipliers tend to :math:`D = \operatorname{orth}((I - V V^T) M)`.
    Weight decay acts on protected directions too.

    Differs from the authors' scripts: the dual rate is relative to the momentum, multipliers are kept in that unit, the
    orthogonaliser converges to one (their coupled iteration to cube roots of singular values), and the scale by the
    gradient's norm is left out.

    References:
        Lu et al., Muon-OGD, arXiv 2605.08949.
    """
    transforms.require_fraction("muon_ogd: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.ema(momentum),
        on.bind(transforms.protect_subspaces)(
            subspaces, steps=dual_steps, rate=dual_rate, warm_start=warm_start, orthogonalizer=orthogonalizer
        ),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def protected(
    params: PyTree, activations: Mapping[str, Array], rank: int, *, leaves: Leaves | None = None
) -> dict[str, Interference]:
    """Find the subspaces in which an old task's inputs of each layer are, for `muon_ogd`.

    All outputs are protected: what a layer makes of an input in its subspace stays.

    Args:
        params: the hidden matrices, or their shapes as `jax.eval_shape` gives them; others may be there too.
        activations: path -> inputs of a layer (tokens, features), as `diagnostics.layer_inputs` gives them.
        rank: how many leading directions of each layer's inputs, fewer where there are fewer.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Returns:
        Path -> `linalg.Interference`, for every path of ``activations``.

    Raises:
        ValueError: for a rank below 1, or naming a path that is no parameter or whose inputs have another length.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> params = {"up": {"kernel": jnp.zeros((3, 4))}}
        >>> old = om.protected(params, {"up/kernel": jnp.array([[0.0, 2.0, 0.0]])}, rank=1)
        >>> abs(old["up/kernel"].inputs).tolist()
        [[0.0], [1.0], [0.0]]
    """
    require_whole("protected: rank", rank)
    arrays, table = by_path(params), findings(params, leaves)
    found = {}
    for path, x in activations.items():
        if path not in arrays:
            raise ValueError(f"protected: {path} is no parameter; there are {', '.join(arrays)}")
        shape = arrays[path].shape
        lengths = {length for _, length, _ in matrix_shapes(shape, table[path].leaf)}
        if x.ndim != 2 or lengths != {x.shape[1]}:
            raise ValueError(f"protected: {path} has shape {shape} and {sorted(lengths)} inputs; found {x.shape}")
        _, s, vh = jnp.linalg.svd(x.astype(accumulator_dtype(x.dtype)), full_matrices=False)
        kept = min(rank, int(jnp.sum(s > s[0] * max(x.shape) * jnp.finfo(s.dtype).eps)))
        found[path] = Interference(vh[:kept].T)
    return found
