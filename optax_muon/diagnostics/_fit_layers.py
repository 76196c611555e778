"""Layer-wise constants of (L0, L1) smoothness from a run."""

from collections.abc import Mapping, Sequence

import numpy as np

from optax_muon.norms import Smoothness, fit_smoothness
from optax_muon.transforms import SmoothnessSample


def fit_layers(samples: Sequence[Mapping[str, SmoothnessSample]]) -> dict[str, Smoothness]:
    r"""Fit :math:`\hat L \approx L_0 + L_1 \|G\|_*` to every parameter's samples along a run.

    Take samples with `transforms.measure_smoothness` at logging points; the results are radii for `om.gluon`.

    Args:
        samples: one mapping of path -> sample per logging point; the estimates are in dual norm per norm.

    Returns:
        Path -> `norms.Smoothness`, with ``constant`` in dual norm per norm and ``slope`` in one over norm.

    Cost: none beside the samples, which take no HVP.

    Raises:
        ValueError: without samples, or naming a path without a positive finite estimate.

    References:
        Riabinin et al., arXiv 2505.13416, smoothness along the trajectory.
    """
    if not samples:
        raise ValueError("fit_layers: samples is empty; call measure_smoothness at two points or more")
    fits = {}
    for path in samples[0]:
        estimates = np.concatenate([np.ravel(sample[path].estimate) for sample in samples])
        duals = np.concatenate([np.ravel(sample[path].dual) for sample in samples])
        try:
            fits[path] = fit_smoothness(estimates, duals)
        except ValueError as error:
            # The fit does not know whose samples it has.
            raise ValueError(f"{path}: {error}") from None
    return fits
