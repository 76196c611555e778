"""The arguments that named optimizers share: what they say, once, and the stages that take them."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

import optax

from optax_muon import transforms
from optax_muon._docstring import Shared
from optax_muon.linalg import GradientOp, MatrixOp, SpectralMap
from optax_muon.matrices._resolve import Leaves as Leaves
from optax_muon.placement._placement import Placement as Placement
from optax_muon.shapes import ShapeScale

P = ParamSpec("P")
T = TypeVar("T")

SHARED: Mapping[str, Shared] = MappingProxyType(
    {
        "orthogonalizer": Shared(
            "a map of `optax_muon.linalg`; default `best()`, the plain or the Gram iteration by shape."
        ),
        "momentum": Shared("the decay rate mu, in [0, 1)."),
        "nesterov": Shared("look one step ahead by interpolation."),
        "norms": Shared("role or path glob -> norm, over the defaults of `norms.for_roles`; globs win over roles."),
        "radii": Shared("rho, one for all or by key of ``norms``, 1 where none is given."),
        "rms": Shared("root mean square of the entries of an update."),
        "weight_decay": Shared(
            "lambda, decoupled, multiplied by the learning rate.",
            "A number, a schedule of it by the step from zero, or a transformation that adds the decay itself, such as "
            "``optax.add_decayed_weights(0.1, mask)``.",
        ),
        "shape_scale": Shared("c, an object of `optax_muon.shapes`."),
        "leaves": Shared(
            "which axes of a parameter make a matrix: a tree of `Leaf`, a callable that makes one from parameters, or "
            "None for names and ranks."
        ),
        "placement": Shared(
            "where the matrices are computed; None: `OverMesh()`, which shares them out over the mesh on which they "
            "are sharded, and takes the local device without one."
        ),
        "state_dtype": Shared("of the momentum.", "None: the parameters' own."),
    }
)
"""The arguments that more than one optimizer describes in the same words."""

WeightDecay = optax.ScalarOrSchedule | optax.GradientTransformation
"""A rate, a schedule of it, or a transformation that adds the decay."""


def decayed_weights(weight_decay: WeightDecay) -> optax.GradientTransformation:
    """Add decayed weights to the updates; the place in the chain says whether the decay is coupled.

    Args:
        weight_decay: a rate, a schedule of it by the step from zero, or a transformation that adds the decay itself.
    """
    if isinstance(weight_decay, optax.GradientTransformation):
        return weight_decay
    return optax.add_decayed_weights(weight_decay)


@dataclasses.dataclass(frozen=True)
class Stages:
    """Makes the stages of one optimizer, which share its axes, its placement and the dtype of its state.

    Args:
        leaves: which axes of a parameter make a matrix.
        placement: where matrices are computed.
        state_dtype: of averages shaped like the parameters.
    """

    leaves: Leaves | None
    placement: Placement | None
    state_dtype: Any

    def bind(self, make: Callable[P, T]) -> Callable[P, T]:
        """Give a transform of `optax_muon.transforms` those of the shared options that it takes."""
        # One dtype under two names: averages have an accumulator, as optax calls it; other states a state.
        options = {
            "leaves": self.leaves,
            "placement": self.placement,
            "accumulator_dtype": self.state_dtype,
            "state_dtype": self.state_dtype,
        }
        # By signature, so that a transform without matrix work is handed no placement.
        taken = inspect.signature(make).parameters
        return functools.partial(make, **{name: value for name, value in options.items() if name in taken})  # pyright: ignore[reportCallIssue, reportReturnType]

    def ema(self, decay: Any, *, nesterov: bool = False) -> optax.GradientTransformation:
        """Average gradients from zero: `transforms.ema`."""
        return transforms.ema(decay, nesterov=nesterov, accumulator_dtype=self.state_dtype)

    def first_gradient_ema(self, decay: Any) -> optax.GradientTransformation:
        """Average gradients from the first of them: `transforms.first_gradient_ema`."""
        return transforms.first_gradient_ema(decay, accumulator_dtype=self.state_dtype)

    def heavy_ball(self, decay: Any, *, nesterov: bool) -> optax.GradientTransformation:
        """Sum gradients: `optax.trace`."""
        return optax.trace(decay, nesterov, accumulator_dtype=self.state_dtype)

    def apply(self, op: SpectralMap | MatrixOp) -> optax.GradientTransformationExtraArgs:
        """Map every matrix: `transforms.apply_to_matrices`."""
        return transforms.apply_to_matrices(op, leaves=self.leaves, placement=self.placement)

    def lift(self, op: SpectralMap | MatrixOp) -> transforms.Lift:
        """Lift an operation to trees, for a rule that needs more of it than a transform shows."""
        return transforms.Lift(op, self.leaves, self.placement)

    def apply_with_gradients(self, op: GradientOp) -> optax.GradientTransformationExtraArgs:
        """Map every matrix with its gradient beside it: `transforms.apply_with_gradients`."""
        return transforms.apply_with_gradients(op, leaves=self.leaves, placement=self.placement)

    def apply_by_role(self, ops: Mapping[str, SpectralMap | MatrixOp]) -> optax.GradientTransformationExtraArgs:
        """Map every leaf by its role: `transforms.apply_by_role`."""
        return transforms.apply_by_role(ops, leaves=self.leaves, placement=self.placement)

    def scale_by_shape(self, scale: ShapeScale) -> optax.GradientTransformationExtraArgs:
        """Multiply every matrix by its shape's factor: `transforms.scale_by_shape`."""
        return transforms.scale_by_shape(scale, leaves=self.leaves)
