"""Optax transformations, one kind of state each."""

from optax_muon.transforms._error_feedback import ErrorFeedbackState as ErrorFeedbackState
from optax_muon.transforms._error_feedback import error_feedback as error_feedback
from optax_muon.transforms._frobenius_clipping import clip_by_frobenius_norm as clip_by_frobenius_norm
from optax_muon.transforms._lift import Lift as Lift
from optax_muon.transforms._lift import LiftState as LiftState
from optax_muon.transforms._lift import apply_to_matrices as apply_to_matrices
from optax_muon.transforms._lmo import scale_by_lmo as scale_by_lmo
from optax_muon.transforms._momentum import NesterovEmaState as NesterovEmaState
from optax_muon.transforms._momentum import nesterov_ema as nesterov_ema
from optax_muon.transforms._momentum import require_fraction as require_fraction
from optax_muon.transforms._shape_scaling import scale_by_shape as scale_by_shape
from optax_muon.transforms._variance_reduction import ExtrapolatedEmaState as ExtrapolatedEmaState
from optax_muon.transforms._variance_reduction import LastGradientState as LastGradientState
from optax_muon.transforms._variance_reduction import SameBatchState as SameBatchState
from optax_muon.transforms._variance_reduction import correct_by_last_gradient as correct_by_last_gradient
from optax_muon.transforms._variance_reduction import correct_by_same_batch as correct_by_same_batch
from optax_muon.transforms._variance_reduction import extrapolated_ema as extrapolated_ema
