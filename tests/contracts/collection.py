"""One of every map, operation and norm of the package, for promises that all of them keep."""

import inspect

import optax_muon as om
from optax_muon import linalg, norms
from optax_muon.linalg.subspace._diagonal_blocks import TimesBlocks
from optax_muon.transforms._by_stable_rank import _Choice
from optax_muon.transforms._kronecker_metric import _Again
from optax_muon.transforms._rotated import _Back, _Into, _Turn
from optax_muon.transforms._smoothness import _ChangeRate

WHITEN = linalg.OneSidedWhitening()
OPS = [
    linalg.Balanced(linalg.best()),
    linalg.BySize(2, linalg.RandomizedPolar(rank=2)),
    linalg.Center("reduction"),
    linalg.Composed(linalg.SVDPolar(), WHITEN),
    linalg.Constrained(linalg.Stiefel(), steps=1),
    linalg.GramWhitening(),
    linalg.HeatCorrected(linalg.NewtonSchulz(linalg.taylor_coefficients()), 0.1),
    linalg.HeaviestSlices(linalg.best(), 0.5),
    linalg.KroneckerWhitening(),
    linalg.LaggedWhitening(),
    linalg.LeadingSubspace(rank=2),
    linalg.LowRankPart(rank=2),
    linalg.LowRankStorm(rank=2),
    linalg.NormalizeInBasis(),
    WHITEN,
    linalg.PowerHammer(1.0),
    linalg.PowerStep(rank=2),
    linalg.RandomEntries(0.3),
    linalg.RandomSubspace(2),
    linalg.RandomizedPolar(rank=2),
    linalg.SketchedThresholdClip(linalg.ConstantThreshold(1.0), linalg.RandomizedSVD(rank=2)),
    linalg.Spectrum(),
    linalg.TangentParts(),
    linalg.ThresholdClip(linalg.ConstantThreshold(1.0)),
    linalg.TopEntries(0.3),
    norms.Oracle(norms.Spectral()),
    _Again(linalg.KroneckerWhitening()),
    _Back(linalg.IdentityBasis()),
    _ChangeRate(norms.Spectral()),
    _Choice(0.5, power_steps=3),
    TimesBlocks(),
    _Into(linalg.IdentityBasis()),
    _Turn(),
]
MAPS = [
    linalg.BySVD(linalg.NewtonSchulz()),
    linalg.Freon(0.5),
    linalg.Gated(linalg.SpectralGap(1.0)),
    linalg.Gated(linalg.LargeEnough(1.0), linalg.NewtonSchulz()),
    linalg.GramNewtonSchulz(),
    linalg.GramNewtonSchulz(linalg.YOU_2025, arithmetic=linalg.FLOAT16),
    linalg.GramNewtonSchulz(normalize=linalg.Schatten4()),
    linalg.Hammer(1.0),
    linalg.HighPass(2),
    linalg.Kaon(),
    linalg.NearestMultiple(linalg.NewtonSchulz()),
    linalg.NewtonSchulz(),
    linalg.NewtonSchulz(linalg.AOL_2025),
    linalg.NewtonSchulz(linalg.YOU_2025, arithmetic=linalg.BFLOAT16),
    linalg.NewtonSchulz(linalg.taylor_coefficients()),
    linalg.NewtonSchulz(normalize=linalg.PowerIteration()),
    linalg.OfSameNorm(linalg.NewtonSchulz()),
    linalg.best(),
    linalg.best(linalg.YOU_2025, arithmetic=linalg.BFLOAT16),
    linalg.OnSphere(2.0),
    linalg.OnSphere(2.0, power_steps=2),
    linalg.PolynomialCap(1.0),
    linalg.QDWHPolar(),
    linalg.SVDPolar(),
    linalg.SoftCap(1.0, 1.2),
    *(make(0.5, orthogonalizer=inner) for make in (linalg.Ridge, linalg.SoftClip) for inner in (None, linalg.best())),
    *(linalg.SoftSign(0.5, orthogonalizer=inner) for inner in (None, linalg.best())),
    *(linalg.SpectralClip(1.0, orthogonalizer=inner) for inner in (None, linalg.best())),
    *(linalg.SpectralPower(0.25, orthogonalizer=inner) for inner in (None, linalg.best())),
    linalg.SpectralDecay(0.1),
    linalg.SpectralNormalize(1.0),
    linalg.TopRank(2),
]
NORMS = [
    norms.AxisNorm("reduction"),
    norms.Conv(2),
    norms.DualKyFan(2),
    norms.Embed(),
    norms.Frobenius(),
    norms.KyFan(2),
    norms.L1(),
    norms.Linear(),
    norms.Max(),
    norms.Nuclear(),
    norms.RMS(),
    norms.Scaled(norms.Spectral(), om.shapes.Jordan()),
    norms.Spectral(),
    norms.SpectralConv(2),
    norms.Taps(norms.Spectral(), 2),
]


def unlisted(cls: type, known: list) -> list[str]:
    """Names of the package's classes below ``cls`` that can be built and of which ``known`` has none."""
    below, todo = set(), [cls]
    while todo:
        found = todo.pop().__subclasses__()
        below |= {x for x in found if x.__module__.startswith("optax_muon.") and not inspect.isabstract(x)}
        todo += found
    return sorted(x.__name__ for x in below - {type(one) for one in known})
