"""Which states are sums of gradients, wherever they are nested."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from jaxtyping import PyTree

from optax_muon.transforms._first_gradient_ema import FirstGradientEmaState
from optax_muon.transforms._low_rank_momentum import LowRankMomentumState
from optax_muon.transforms._momentum import NesterovEmaState, TwoRateEmaState
from optax_muon.transforms._sliced_momentum import SlicedMomentumState
from optax_muon.transforms._variance_reduction import ExtrapolatedEmaState, LastGradientState

LINEAR: Mapping[type, str] = {
    optax.ScaleByAdamState: "mu",
    optax.ScaleByLionState: "mu",
    optax.EmaState: "ema",
    optax.TraceState: "trace",
    NesterovEmaState: "average",
    TwoRateEmaState: "average",
    LowRankMomentumState: "residual",
    SlicedMomentumState: "residual",
    FirstGradientEmaState: "average",
    ExtrapolatedEmaState: "average",
    LastGradientState: "last",
}
"""States whose named field is a sum of gradients.

Another optimizer's states have to be added by hand: nothing tells a sum of gradients from a sum of squares.
"""


def map_fields(f: Callable[[PyTree], PyTree], state: PyTree, fields: Mapping[type, str]) -> PyTree:
    """Map the named fields of the states that ``fields`` knows, wherever they are nested."""

    def visit(node: Any) -> Any:
        """Map one state's field."""
        if type(node) not in fields:
            return node
        name = fields[type(node)]
        return node._replace(**{name: f(getattr(node, name))})

    return jax.tree.map(visit, state, is_leaf=lambda node: type(node) in fields)
