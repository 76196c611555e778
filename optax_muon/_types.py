"""Types that many signatures share."""

import jax
from jax.typing import DTypeLike as DTypeLike

# What may be a tracer: coefficients, decay rates, thresholds. A step-dependent one is `optax.ScalarOrSchedule`.
Number = float | jax.Array
