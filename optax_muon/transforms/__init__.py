"""Optax transformations, one kind of state each."""

from optax_muon.transforms._lift import Lift as Lift
from optax_muon.transforms._lift import LiftState as LiftState
from optax_muon.transforms._lift import apply_to_matrices as apply_to_matrices
from optax_muon.transforms._lmo import scale_by_lmo as scale_by_lmo
from optax_muon.transforms._momentum import NesterovEmaState as NesterovEmaState
from optax_muon.transforms._momentum import nesterov_ema as nesterov_ema
from optax_muon.transforms._momentum import require_fraction as require_fraction
from optax_muon.transforms._shape_scaling import scale_by_shape as scale_by_shape
