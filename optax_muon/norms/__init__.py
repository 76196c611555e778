"""Norms on stacks of matrices (*batch, reduction, output): value, dual and linear minimisation oracle."""

from optax_muon.norms._conv import Conv as Conv
from optax_muon.norms._conv import SpectralConv as SpectralConv
from optax_muon.norms._conv import Taps as Taps
from optax_muon.norms._entrywise import L1 as L1
from optax_muon.norms._entrywise import AxisNorm as AxisNorm
from optax_muon.norms._entrywise import Frobenius as Frobenius
from optax_muon.norms._entrywise import Max as Max
from optax_muon.norms._norm import Norm as Norm
from optax_muon.norms._oracle import Oracle as Oracle
from optax_muon.norms._radius import Clipped as Clipped
from optax_muon.norms._radius import DualPower as DualPower
from optax_muon.norms._radius import Fixed as Fixed
from optax_muon.norms._radius import Radius as Radius
from optax_muon.norms._radius import Smoothness as Smoothness
from optax_muon.norms._scaled import RMS as RMS
from optax_muon.norms._scaled import Embed as Embed
from optax_muon.norms._scaled import FanPower as FanPower
from optax_muon.norms._scaled import Linear as Linear
from optax_muon.norms._scaled import Scaled as Scaled
from optax_muon.norms._spectral import DualKyFan as DualKyFan
from optax_muon.norms._spectral import KyFan as KyFan
from optax_muon.norms._spectral import Nuclear as Nuclear
from optax_muon.norms._spectral import Spectral as Spectral
