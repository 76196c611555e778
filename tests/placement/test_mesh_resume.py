"""Eight devices, four by two, two, one: a checkpoint goes from any to any, and two processes agree with one."""

import functools

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from tests import together

SHAPES = {"up": (16, 32), "down": (32, 16), "proj": (16, 16)}
LEAVES = {name: {"kernel": om.Leaf("hidden", 0, 1)} for name in SHAPES}
TX = om.muon(0.02, leaves=LEAVES, placement=om.OverMesh(flops_per_byte=1.0))
MESHES = {
    8: ((8,), ("fsdp",), P("fsdp")),
    42: ((4, 2), ("fsdp", "tp"), P("tp", "fsdp")),
    2: ((2,), ("fsdp",), P(None, "fsdp")),
    1: ((1,), ("fsdp",), P()),
}


def arrays(seed):
    rng = np.random.default_rng(seed)
    return {name: {"kernel": rng.normal(size=shape).astype(np.float32)} for name, shape in SHAPES.items()}


def shardings_of(devices):
    shape, names, spec = MESHES[devices]
    count = int(np.prod(shape))
    mesh = jax.make_mesh(shape, names, axis_types=(AxisType.Explicit,) * len(names), devices=jax.devices()[:count])
    params = jax.tree.map(lambda _: NamedSharding(mesh, spec), arrays(0))
    return params, om.state_shardings(TX, arrays(0), params)


def step(params, state, grads):
    updates, state = TX.update(grads, state, params)
    return optax.apply_updates(params, updates), state


@functools.cache
def saved(folder):
    """Two steps on eight devices, a checkpoint, and the parameters after a third step."""
    shardings, states = shardings_of(8)
    params = jax.device_put(arrays(0), shardings)
    state = jax.jit(TX.init, out_shardings=states)(params)
    for seed in (1, 2):
        params, state = jax.jit(step)(params, state, jax.device_put(arrays(seed), shardings))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(f"{folder}/state", {"params": params, "state": state})
    return jax.device_get(jax.jit(step)(params, state, jax.device_put(arrays(3), shardings))[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("resume")


@pytest.mark.parametrize("devices", [42, 2, 1])
def test_a_checkpoint_of_eight_devices_resumes_on_fewer(folder, devices):
    expected = saved(str(folder))
    shardings, states = shardings_of(devices)
    like = {"params": arrays(0), "state": jax.eval_shape(TX.init, arrays(0))}
    target = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), like, {"params": shardings, "state": states}
    )
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(f"{folder}/state", target)
    kernel = restored["params"]["up"]["kernel"]
    assert kernel.sharding.is_equivalent_to(shardings["up"]["kernel"], 2)
    grads = jax.device_put(arrays(3), shardings)
    params, state = jax.jit(step)(restored["params"], restored["state"], grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), jax.device_get(params), expected)
    assert jax.tree.structure(state) == jax.tree.structure(restored["state"])


PROCESS = """
    import sys
    import jax
    jax.config.update("jax_platforms", "cpu")
    jax.distributed.initialize("127.0.0.1:" + sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
    import numpy as np
    from jax.experimental import multihost_utils
    from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
    import optax_muon as om
    rng = np.random.default_rng(0)
    data = {name: rng.normal(size=shape).astype(np.float32) for name, shape in (("up", (8, 16)), ("down", (16, 8)))}
    tx = om.transforms.apply_to_matrices(
        om.linalg.NewtonSchulz(), leaves=dict.fromkeys(data, om.Leaf("hidden", 0, 1))
    )
    mesh = jax.make_mesh((4,), ("fsdp",), axis_types=(AxisType.Explicit,))
    place = lambda x: jax.make_array_from_callback(x.shape, NamedSharding(mesh, P("fsdp")), lambda i: x[i])
    got = jax.jit(lambda x: tx.update(x, tx.init(x))[0])({name: place(x) for name, x in data.items()})
    for name, x in data.items():
        whole = multihost_utils.process_allgather(got[name], tiled=True)
        np.testing.assert_allclose(whole, om.linalg.NewtonSchulz().apply(jax.numpy.asarray(x)), atol=1e-5)
    print("agreed on", jax.device_count(), "devices of", jax.process_count(), "processes")
"""


def test_two_processes_agree_with_one_device():
    said = together.end(together.start(PROCESS, 2, 2))
    assert all("agreed on 4 devices of 2 processes" in text for text in said), said
