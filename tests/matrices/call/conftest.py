"""Models promote ranks, as those of users do."""

import jax
import pytest


@pytest.fixture(autouse=True)
def _as_users_write():
    with jax.numpy_rank_promotion("allow"):
        yield
