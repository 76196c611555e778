"""optax_muon: Muon and its family of matrix optimizers as composable Optax transformations."""

from optax_muon import diagnostics as diagnostics
from optax_muon import linalg as linalg
from optax_muon import norms as norms
from optax_muon import shapes as shapes
from optax_muon import transforms as transforms
from optax_muon._registry import Card as Card
from optax_muon._registry import registry as registry
from optax_muon.matrices import Attention as Attention
from optax_muon.matrices import Leaf as Leaf
from optax_muon.matrices import OnTheSpot as OnTheSpot
from optax_muon.matrices import OverMesh as OverMesh
from optax_muon.matrices import PlacementReport as PlacementReport
from optax_muon.matrices import Split as Split
from optax_muon.matrices import UnknownLeafError as UnknownLeafError
from optax_muon.matrices import check_state as check_state
from optax_muon.matrices import describe as describe
from optax_muon.matrices import dimension_numbers as dimension_numbers
from optax_muon.matrices import for_matrices as for_matrices
from optax_muon.matrices import label as label
from optax_muon.matrices import labels as labels
from optax_muon.matrices import leaves as leaves
from optax_muon.matrices import leaves_from_flax as leaves_from_flax
from optax_muon.matrices import placement_report as placement_report
from optax_muon.matrices import state_shardings as state_shardings
from optax_muon.optimizers import amuse as amuse
from optax_muon.optimizers import asgo as asgo
from optax_muon.optimizers import cosmos as cosmos
from optax_muon.optimizers import dion as dion
from optax_muon.optimizers import ef_muon as ef_muon
from optax_muon.optimizers import freon as freon
from optax_muon.optimizers import gluon as gluon
from optax_muon.optimizers import gluon_schedules as gluon_schedules
from optax_muon.optimizers import htmuon as htmuon
from optax_muon.optimizers import kaon as kaon
from optax_muon.optimizers import kl_shampoo as kl_shampoo
from optax_muon.optimizers import limuon as limuon
from optax_muon.optimizers import lion_muon as lion_muon
from optax_muon.optimizers import low_rank_muon as low_rank_muon
from optax_muon.optimizers import mimuon as mimuon
from optax_muon.optimizers import muadam as muadam
from optax_muon.optimizers import mucon as mucon
from optax_muon.optimizers import muon as muon
from optax_muon.optimizers import muon_igt as muon_igt
from optax_muon.optimizers import muon_max as muon_max
from optax_muon.optimizers import muon_mvr as muon_mvr
from optax_muon.optimizers import muon_sign as muon_sign
from optax_muon.optimizers import muon_usign as muon_usign
from optax_muon.optimizers import muoneq as muoneq
from optax_muon.optimizers import normuon as normuon
from optax_muon.optimizers import optmuon as optmuon
from optax_muon.optimizers import orscale as orscale
from optax_muon.optimizers import orscale_lm as orscale_lm
from optax_muon.optimizers import pion as pion
from optax_muon.optimizers import polar_adamw as polar_adamw
from optax_muon.optimizers import polargrad as polargrad
from optax_muon.optimizers import rmnp as rmnp
from optax_muon.optimizers import scion as scion
from optax_muon.optimizers import scion_init as scion_init
from optax_muon.optimizers import sf_normuon as sf_normuon
from optax_muon.optimizers import sign_muon as sign_muon
from optax_muon.optimizers import soap as soap
from optax_muon.optimizers import soft_muon as soft_muon
from optax_muon.optimizers import soft_signum as soft_signum
from optax_muon.optimizers import spectra as spectra
from optax_muon.optimizers import splus as splus
from optax_muon.optimizers import symmetry_compatible as symmetry_compatible
from optax_muon.optimizers import symmetry_rules as symmetry_rules
from optax_muon.optimizers import transported_scion as transported_scion
from optax_muon.transforms import eval_params as eval_params
from optax_muon.transforms import migrate as migrate
from optax_muon.transforms import multi_steps as multi_steps
from optax_muon.transforms import previous_params as previous_params
from optax_muon.transforms import remember_previous_params as remember_previous_params
from optax_muon.transforms import step_with_two_gradients as step_with_two_gradients

__version__ = "0.1.0"

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
    "Split",
    "UnknownLeafError",
    "check_state",
    "describe",
    "dimension_numbers",
    "for_matrices",
    "label",
    "labels",
    "leaves",
    "leaves_from_flax",
    "state_shardings",
    # where it runs
    "OnTheSpot",
    "OverMesh",
    "PlacementReport",
    "placement_report",
    # in the training loop
    "eval_params",
    "migrate",
    "multi_steps",
    "previous_params",
    "remember_previous_params",
    "step_with_two_gradients",
    # named optimizers
    "Card",
    "amuse",
    "asgo",
    "cosmos",
    "dion",
    "ef_muon",
    "freon",
    "gluon",
    "gluon_schedules",
    "htmuon",
    "kaon",
    "kl_shampoo",
    "limuon",
    "lion_muon",
    "low_rank_muon",
    "mimuon",
    "muadam",
    "mucon",
    "muon",
    "muon_igt",
    "muon_max",
    "muon_mvr",
    "muon_sign",
    "muon_usign",
    "muoneq",
    "normuon",
    "optmuon",
    "orscale",
    "orscale_lm",
    "pion",
    "polar_adamw",
    "polargrad",
    "registry",
    "rmnp",
    "scion",
    "scion_init",
    "sf_normuon",
    "sign_muon",
    "soap",
    "soft_muon",
    "soft_signum",
    "spectra",
    "splus",
    "symmetry_compatible",
    "symmetry_rules",
    "transported_scion",
]
