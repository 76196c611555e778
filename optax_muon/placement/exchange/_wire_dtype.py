"""The dtype in which matrices travel."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from optax_muon.linalg import BFLOAT16, SpectralMap
from optax_muon.linalg._map_stack import Op
from optax_muon.placement.exchange._device_teams import team_iteration


def wire_dtype(op: Op, dtype: Any, wanted: Any) -> str:
    """Name the dtype in which matrices travel: what the map would round them to anyway, or what is wanted.

    Args:
        op: the operation, in the form that the platform runs.
        dtype: of the matrices.
        wanted: `OverMesh.exchange_dtype`.
    """
    own, plain = jnp.dtype(dtype), team_iteration(op)
    # Its exponents are float32's: a matrix of any scale keeps its direction, which float16 would not promise.
    if wanted is None and plain is not None and replace(plain.arithmetic, halve_symmetric=False) == BFLOAT16:
        wanted = jnp.bfloat16
    # Only for maps: an operation with state may need every bit.
    if wanted is None or not isinstance(op, SpectralMap) or not jnp.issubdtype(own, jnp.floating):
        return own.name
    return min(own, jnp.dtype(wanted), key=lambda x: x.itemsize).name
