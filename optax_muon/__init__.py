"""optax_muon: Muon and its family of matrix optimizers as composable Optax transformations."""

# ruff: noqa: F403, F405 - an optimizer's name is imported in one place, by optimizers/__init__.py
import typing as _typing

from optax_muon import diagnostics as diagnostics
from optax_muon import linalg as linalg
from optax_muon import norms as norms
from optax_muon import shapes as shapes
from optax_muon import transforms as transforms
from optax_muon import workers as workers
from optax_muon import zeroth_order as zeroth_order
from optax_muon._inject import inject_hyperparams as inject_hyperparams
from optax_muon._options import Leaves as Leaves
from optax_muon._options import Placement as Placement
from optax_muon._privacy_spent import privacy_spent as privacy_spent
from optax_muon._registry import Card as Card
from optax_muon._registry import StateSize as StateSize
from optax_muon._registry import registry as registry
from optax_muon._renamed import renamed_names as _renamed_names
from optax_muon.matrices import AssumedLeafWarning as AssumedLeafWarning
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
from optax_muon.optimizers import *
from optax_muon.placement import Local as Local
from optax_muon.placement import OnShards as OnShards
from optax_muon.placement import OverMesh as OverMesh
from optax_muon.placement import PlacementReport as PlacementReport
from optax_muon.transforms import clipped_gradient as clipped_gradient
from optax_muon.transforms import eval_params as eval_params
from optax_muon.transforms import migrate as migrate
from optax_muon.transforms import multi_steps as multi_steps
from optax_muon.transforms import placement_report as placement_report
from optax_muon.transforms import previous_params as previous_params
from optax_muon.transforms import remember_previous_params as remember_previous_params
from optax_muon.transforms import step_with_two_gradients as step_with_two_gradients

__version__ = "0.1.0"
if not _typing.TYPE_CHECKING:  # a module's __getattr__ would make every misspelled name right
    __getattr__ = _renamed_names(__name__, {"OnTheSpot": "Local", "symmetry_rules": "symmetry_ops"})

__all__ = [
    # modules
    "diagnostics",
    "linalg",
    "norms",
    "shapes",
    "transforms",
    "workers",
    "zeroth_order",
    # which parameter goes where
    "AssumedLeafWarning",
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
    "OnShards",
    "OverMesh",
    "Placement",
    "PlacementReport",
    "placement_report",
    # in the training loop
    "clipped_gradient",
    "eval_params",
    "inject_hyperparams",
    "migrate",
    "multi_steps",
    "previous_params",
    "privacy_spent",
    "remember_previous_params",
    "step_with_two_gradients",
    # the collection of named optimizers
    "Card",
    "StateSize",
    "registry",
    # named optimizers, and what belongs to them
    "adago",
    "adam_mini",
    "adamuon",
    "adanaged",
    "adaptive_muon",
    "amuse",
    "asgo",
    "aurora",
    "conda",
    "cosmos",
    "demuon",
    "diloco",
    "dion",
    "dion2",
    "dion3",
    "dp_muon",
    "ef21_muon",
    "ef_muon",
    "ef_muon_max",
    "fismo",
    "freon",
    "gluon",
    "gluon_schedules",
    "htmuon",
    "hyperball",
    "intrinsic_muon",
    "kaon",
    "kl_shampoo",
    "limuon",
    "lion_muon",
    "local_lmo",
    "lora_muon",
    "loscar",
    "low_rank_muon",
    "manifold_muon",
    "mano",
    "mimuon",
    "mousse",
    "muadam",
    "mucon",
    "muloco",
    "muon",
    "muon_bp",
    "muon_h",
    "muon_igt",
    "muon_max",
    "muon_mvr",
    "muon_ogd",
    "muon_plus",
    "muon_sign",
    "muon_squared",
    "muon_usign",
    "muoneq",
    "muown",
    "namo",
    "newton_muon",
    "nora",
    "normuon",
    "optmuon",
    "orscale",
    "orscale_lm",
    "pion",
    "polar_adamw",
    "polargrad",
    "protected",
    "proximal_muon",
    "riemannion",
    "rmnp",
    "scion",
    "scion_init",
    "sf_normuon",
    "shampoo",
    "sign_muon",
    "soap",
    "soft_muon",
    "soft_signum",
    "spectra",
    "spel",
    "splus",
    "sso",
    "suda_muon",
    "symmetry_compatible",
    "symmetry_ops",
    "transported_scion",
    "zo_muon",
]
