"""optax_muon: Muon and its family of matrix optimizers as composable Optax transformations."""

from optax_muon import diagnostics as diagnostics
from optax_muon import linalg as linalg
from optax_muon import norms as norms
from optax_muon import optimizers as optimizers
from optax_muon import shapes as shapes
from optax_muon import transforms as transforms
from optax_muon._options import Leaves as Leaves
from optax_muon._options import Placement as Placement
from optax_muon._registry import Card as Card
from optax_muon._registry import StateSize as StateSize
from optax_muon._registry import registry as registry
from optax_muon._renamed import renamed_names as _renamed_names
from optax_muon.matrices import Attention as Attention
from optax_muon.matrices import Leaf as Leaf
from optax_muon.matrices import Split as Split
from optax_muon.matrices import UnknownLeafError as UnknownLeafError
from optax_muon.matrices import check_state as check_state
from optax_muon.matrices import describe as describe
from optax_muon.matrices import dimension_numbers as dimension_numbers
from optax_muon.matrices import for_matrices as for_matrices
from optax_muon.matrices import label as label
from optax_muon.matrices import labels as labels
from optax_muon.matrices import leaves as leaves
from optax_muon.matrices import leaves_from_call as leaves_from_call
from optax_muon.matrices import leaves_from_flax as leaves_from_flax
from optax_muon.matrices import state_shardings as state_shardings
from optax_muon.optimizers import *  # noqa: F403 - so that an optimizer is one file and one import line
from optax_muon.placement import Local as Local
from optax_muon.placement import OverMesh as OverMesh
from optax_muon.placement import PlacementReport as PlacementReport
from optax_muon.transforms import eval_params as eval_params
from optax_muon.transforms import migrate as migrate
from optax_muon.transforms import multi_steps as multi_steps
from optax_muon.transforms import placement_report as placement_report
from optax_muon.transforms import previous_params as previous_params
from optax_muon.transforms import remember_previous_params as remember_previous_params
from optax_muon.transforms import step_with_two_gradients as step_with_two_gradients

__version__ = "0.1.0"
__getattr__ = _renamed_names(__name__, {"OnTheSpot": "Local", "symmetry_rules": "symmetry_ops"})

__all__ = [
    # modules
    "diagnostics",
    "linalg",
    "norms",
    "shapes",
    "transforms",
    # which parameter goes where
    "Attention",
    "Leaf",
    "Leaves",
    "Split",
    "UnknownLeafError",
    "check_state",
    "describe",
    "dimension_numbers",
    "for_matrices",
    "label",
    "labels",
    "leaves",
    "leaves_from_call",
    "leaves_from_flax",
    "state_shardings",
    # where it runs
    "Local",
    "OverMesh",
    "Placement",
    "PlacementReport",
    "placement_report",
    # in the training loop
    "eval_params",
    "migrate",
    "multi_steps",
    "previous_params",
    "remember_previous_params",
    "step_with_two_gradients",
    # named optimizers, beside those of their own module
    "Card",
    "StateSize",
    "registry",
]
__all__ += optimizers.__all__
