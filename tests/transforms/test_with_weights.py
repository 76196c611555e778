"""What travels beside the gradients is planned and counted."""

import jax
import jax.numpy as jnp
import pytest

import optax_muon as om
from optax_muon import linalg


def test_the_report_counts_the_weights_and_every_step_of_the_dual():
    mesh = jax.sharding.AbstractMesh((8,), ("fsdp",))
    spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("fsdp"))
    params = {str(i): {"up": {"kernel": jax.ShapeDtypeStruct((64, 256), jnp.float32, sharding=spec)}} for i in range(8)}
    map_ = linalg.NewtonSchulz()
    plain = om.placement_report(params, map_)
    with_weights = om.placement_report(params, linalg.Constrained(linalg.Stiefel(), map_, steps=2))
    assert plain.nbytes == plain.bound
    # Gradients and weights go out, directions come back.
    assert with_weights.nbytes == with_weights.bound == 1.5 * plain.nbytes
    assert 3 < with_weights.flops / plain.flops < 4
    nothing = linalg.Constrained(linalg.Interference(jnp.eye(64, 1)), map_, steps=2)
    assert om.placement_report(params, nothing).nbytes == plain.nbytes


def test_without_parameters_it_raises():
    tx = om.transforms.apply_with_weights(linalg.Constrained(linalg.Sphere()))
    grads = {"up": {"kernel": jnp.ones((4, 6))}}
    with pytest.raises(ValueError, match="apply_with_weights needs the parameters"):
        tx.update(grads, tx.init(grads))
