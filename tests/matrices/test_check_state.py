"""A state of another optimizer, partition or model: one error that says what changed, and nothing is overwritten."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

import optax_muon as om

PARAMS = {
    "up": {"kernel": jax.ShapeDtypeStruct((4, 8), jnp.float32), "bias": jax.ShapeDtypeStruct((8,), jnp.float32)},
    "down": {"kernel": jax.ShapeDtypeStruct((8, 5), jnp.float32)},
}


def tx(rules=(), make=om.muon, **options):
    return om.for_matrices(functools.partial(make, 0.02, **options), optax.adamw(3e-4), rules=rules)


def zeros(tree):
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)


def problem(tx, params, found):
    with pytest.raises(ValueError, match="of another optimizer or model") as error:
        om.check_state(tx, params, found)
    return str(error.value)


def test_a_fitting_state_passes_in_every_form():
    state = jax.eval_shape(tx().init, PARAMS)
    om.check_state(tx(), PARAMS, state)
    om.check_state(tx(), PARAMS, zeros(state))
    adam = optax.chain(optax.clip(1.0), optax.adam(1e-3))
    plain = [None, [{"count": np.zeros([], np.int32), "mu": zeros(PARAMS), "nu": zeros(PARAMS)}, None]]
    om.check_state(adam, PARAMS, plain)


def test_a_changed_partition_names_the_parameter_with_before_and_after():
    found = jax.eval_shape(tx().init, PARAMS)
    text = problem(tx(rules=[("down/*", "head")]), PARAMS, found)
    assert "down/kernel: hidden/0/average -> other/0/mu, other/0/nu" in text
    assert "up/kernel" not in text


def test_a_changed_optimizer_names_what_it_lacks():
    text = problem(tx(make=om.normuon), PARAMS, jax.eval_shape(tx().init, PARAMS))
    assert "up/kernel: nothing -> hidden/2/mean_square" in text
    text = problem(tx(state_dtype=jnp.bfloat16), PARAMS, jax.eval_shape(tx().init, PARAMS))
    assert "up/kernel: hidden/0/average float32[4, 8] -> bfloat16[4, 8]" in text


def test_another_model_and_another_shape():
    grown = PARAMS | {"up": PARAMS["up"] | {"kernel": jax.ShapeDtypeStruct((4, 16), jnp.float32)}}
    found = jax.eval_shape(tx().init, PARAMS)
    assert "up/kernel: hidden/0/average float32[4, 8] -> float32[4, 16]" in problem(tx(), grown, found)
    fewer = {"up": PARAMS["up"]}
    assert "hidden/0/average/down/kernel -> nothing" in problem(tx(), fewer, found)
    more = PARAMS | {f"more_{i}_down": PARAMS["down"] for i in range(20)}
    text = problem(tx(), more, found)
    assert "more_0_down/kernel: nothing -> hidden/0/average" in text
    assert "... and 12 more" in text


def test_a_checkpoint_of_another_optimizer_is_told_from_its_metadata(tmp_path):
    checkpointer = ocp.StandardCheckpointer()
    checkpointer.save(tmp_path / "state", zeros(jax.eval_shape(tx().init, PARAMS)))
    checkpointer.wait_until_finished()
    found = checkpointer.metadata(tmp_path / "state").item_metadata.tree
    om.check_state(tx(), PARAMS, found)
    text = problem(tx(rules=[("down/*", "head")]), PARAMS, found)
    assert "down/kernel: hidden/0/average -> other/0/mu, other/0/nu" in text


def test_a_checkpoint_of_an_nnx_optimizer(tmp_path):
    model = nnx.eval_shape(lambda: nnx.Linear(4, 8, rngs=nnx.Rngs(0)))
    params = nnx.state(model, nnx.Param)
    optimizer = nnx.eval_shape(lambda model: nnx.Optimizer(model, tx(), wrt=nnx.Param), model)
    checkpointer = ocp.StandardCheckpointer()
    checkpointer.save(tmp_path / "state", zeros(nnx.to_pure_dict(nnx.state((model, optimizer)))))
    checkpointer.wait_until_finished()
    found = checkpointer.metadata(tmp_path / "state").item_metadata.tree["1"]["opt_state"]
    om.check_state(tx(), params, found)
    text = problem(tx(make=om.normuon), params, found)
    assert "kernel: nothing -> hidden/2/mean_square" in text
    assert "bias" not in text


def test_the_page_shows_this_message():
    text = problem(tx(rules=[("down/*", "head")]), PARAMS, jax.eval_shape(tx().init, PARAMS))
    assert text in (pathlib.Path(__file__).parents[2] / "docs" / "flax.md").read_text()


def test_a_shape_that_changed_since_init_is_named_in_the_update():
    optimizer = tx()
    update = jax.jit(optimizer.update)
    state = zeros(jax.eval_shape(optimizer.init, PARAMS))
    grown = zeros(PARAMS | {"up": PARAMS["up"] | {"bias": jax.ShapeDtypeStruct((9,), jnp.float32)}})
    with pytest.raises(ValueError, match=r"up/bias: other/0/mu float32\[8\] -> float32\[9\]"):
        update(grown, state, grown)
    fewer = zeros({"up": PARAMS["up"]})
    with pytest.raises(ValueError, match="hidden/0/average/down/kernel -> nothing"):
        update(fewer, state, fewer)
    assert all((x == 0).all() for x in jax.tree.leaves(state)), "nothing is overwritten"


def test_an_error_of_another_kind_stays_what_it_is():
    def broken(updates, state, params=None):
        raise ValueError("broken by itself")

    optimizer = om.for_matrices(optax.GradientTransformation(lambda _: optax.EmptyState(), broken), optax.sgd(1.0))
    params = zeros(PARAMS)
    with pytest.raises(ValueError, match="broken by itself"):
        optimizer.update(params, optimizer.init(params), params)


def test_a_mesh_axis_that_does_not_exist_is_named_with_its_leaf():
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    leaf = om.Leaf("hidden", 0, 1, spec=P(None, "modle"))
    transform = om.transforms.apply_to_matrices(om.linalg.SVDPolar(), leaves={"up": leaf})
    with (
        jax.set_mesh(mesh),
        pytest.raises(ValueError, match="up: its spec .* names the axis 'modle'"),
    ):
        jax.jit(transform.update)({"up": np.ones((4, 4), np.float32)}, optax.EmptyState())


def test_leaves_of_another_tree_are_named():
    leaves = {"up": {"kernel": om.Leaf("hidden", 0, 1), "bias": om.Leaf("vector")}}
    with pytest.raises(om.UnknownLeafError, match="down/kernel.*8, 5.*the given leaves have no such path"):
        om.label(PARAMS, leaves)
    leaves["up"]["kernel"] = om.Leaf("hidden", 0, 2)
    with pytest.raises(ValueError, match=r"up/kernel: shape \(4, 8\) has no distinct axes"):
        om.label({"up": PARAMS["up"]}, leaves)
