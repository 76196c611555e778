"""Maps on stacks of matrices, shape ``(*batch, m, n)``: orthogonalisers and functions of singular values."""

from optax_muon.linalg._arithmetic import Arithmetic as Arithmetic
from optax_muon.linalg._arithmetic import BFLOAT16 as BFLOAT16
from optax_muon.linalg._arithmetic import FLOAT32 as FLOAT32
from optax_muon.linalg._coefficients import Coefficients as Coefficients
from optax_muon.linalg._coefficients import JORDAN_2024 as JORDAN_2024
from optax_muon.linalg._coefficients import POLAR_EXPRESS_NANOGPT_2025 as POLAR_EXPRESS_NANOGPT_2025
from optax_muon.linalg._coefficients import POLAR_EXPRESS_PAPER_2025 as POLAR_EXPRESS_PAPER_2025
from optax_muon.linalg._coefficients import YOU_2025 as YOU_2025
from optax_muon.linalg._compose import Composed as Composed
from optax_muon.linalg._eigenbasis import Basis as Basis
from optax_muon.linalg._eigenbasis import EigenBasis as EigenBasis
from optax_muon.linalg._eigenbasis import IdentityBasis as IdentityBasis
from optax_muon.linalg._eigenbasis import RandomBasis as RandomBasis
from optax_muon.linalg._exact import SVDPolar as SVDPolar
from optax_muon.linalg._gate import Gate as Gate
from optax_muon.linalg._gate import Gated as Gated
from optax_muon.linalg._gate import LargeEnough as LargeEnough
from optax_muon.linalg._gate import SpectralGap as SpectralGap
from optax_muon.linalg._map import Info as Info
from optax_muon.linalg._map import MatrixOp as MatrixOp
from optax_muon.linalg._map import SpectralMap as SpectralMap
from optax_muon.linalg._nearest import NearestMultiple as NearestMultiple
from optax_muon.linalg._newton_schulz import NewtonSchulz as NewtonSchulz
from optax_muon.linalg._normalize import Frobenius as Frobenius
from optax_muon.linalg._normalize import Normalizer as Normalizer
