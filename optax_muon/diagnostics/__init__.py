"""Measures of a model under training: would Muon help, where, and is it well?"""

from optax_muon.diagnostics._curvature import Measurement as Measurement
from optax_muon.diagnostics._curvature import curvature_along_step as curvature_along_step
from optax_muon.diagnostics._curvature import measure as measure
from optax_muon.diagnostics._curvature import top_curvature as top_curvature
from optax_muon.diagnostics._fit_layers import fit_layers as fit_layers
from optax_muon.diagnostics._lanczos import Lanczos as Lanczos
from optax_muon.diagnostics._lanczos import TopEigenvalue as TopEigenvalue
from optax_muon.diagnostics._layer_inputs import input_moments as input_moments
from optax_muon.diagnostics._layer_inputs import layer_inputs as layer_inputs
from optax_muon.diagnostics._noise import density as density
from optax_muon.diagnostics._noise import noise_density as noise_density
from optax_muon.diagnostics._report import Report as Report
from optax_muon.diagnostics._report import report as report
from optax_muon.diagnostics._report_row import Row as Row
from optax_muon.diagnostics._spectra import largest_stable_step as largest_stable_step
from optax_muon.diagnostics._spectra import lmo_gap as lmo_gap
from optax_muon.diagnostics._spectra import nuclear_rank as nuclear_rank
from optax_muon.diagnostics._spectra import spectral_flatness as spectral_flatness
from optax_muon.diagnostics._spectra import stable_rank as stable_rank
from optax_muon.diagnostics._spectra import update_rms as update_rms
from optax_muon.diagnostics._training import EveryState as EveryState
from optax_muon.diagnostics._training import every as every
from optax_muon.diagnostics._training import per_matrix as per_matrix
