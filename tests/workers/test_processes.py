"""Workers in processes of their own: one is killed, all are started again from their files, and nothing has changed."""

import time

import pytest

from tests import together

PROCESS = """
    import os, pathlib, signal, sys
    import jax
    jax.config.update("jax_platforms", "cpu")
    port, folder = sys.argv[1], pathlib.Path(sys.argv[4])
    index, count, dies = (int(sys.argv[i]) for i in (2, 3, 5))
    jax.distributed.initialize("127.0.0.1:" + port, num_processes=count, process_id=index)
    import jax.numpy as jnp, numpy as np, optax
    from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
    import optax_muon as om

    STEPS = 6
    mesh = jax.make_mesh((count, 2), ("workers", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    leaves = {"up": {"kernel": om.Leaf("hidden", 0, 1, spec=P("fsdp"))}}
    inner = om.ef21_muon(0.05, compressor_up=om.transforms.top_k(0.25), axis_name="workers", leaves=leaves)
    tx = om.diloco(0.7, inner, period=2, axis_name="workers", leaves=leaves)
    shapes = {"up": {"kernel": jax.ShapeDtypeStruct((8, 4), jnp.float32)}}
    like = (shapes, jax.eval_shape(tx.init, shapes))
    # A worker's matrices are cut over its devices; its counts are one number each.
    specs = jax.tree.map(lambda x: P("workers", "fsdp") if x.ndim == 2 else P("workers"), like)

    def mapped(f, given):
        def own(*args):
            return jax.tree.map(lambda x: x[None], f(*jax.tree.map(lambda x: x[0], args)))
        return jax.jit(jax.shard_map(own, mesh=mesh, in_specs=given, out_specs=specs, check_vma=False))

    def place(x, spec):
        return jax.make_array_from_callback(x.shape, NamedSharding(mesh, spec), lambda i: x[i])

    def batch(step):
        x = np.random.default_rng(step).normal(size=(count, 8, 4)).astype(np.float32)
        return place(x, P("workers", "fsdp"))

    def one(params, state, data):
        grads = jax.tree.map(lambda p: data + 0.3 * p, params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def path(step, i):
        return folder / f"{step}.{i}.npz"

    def save(step, held):
        # Every process keeps what lies on its own devices; the last rename says that all of it is there.
        shards = [np.stack([s.data for s in x.addressable_shards]) for x in jax.tree.leaves(held)]
        draft = folder / f"draft.{index}.npz"
        np.savez(draft, *shards)
        draft.rename(path(step, index))

    def restore(step):
        kept = np.load(path(step, index))
        leaves, structure = jax.tree.flatten(like)
        found = []
        for name, x, spec in zip(kept.files, leaves, jax.tree.leaves(specs), strict=True):
            pieces = [jax.device_put(piece, device) for piece, device in zip(kept[name], jax.local_devices())]
            found.append(jax.make_array_from_single_device_arrays((count, *x.shape), NamedSharding(mesh, spec), pieces))
        return jax.tree.unflatten(structure, found)

    step, update = mapped(one, (*specs, P("workers", "fsdp"))), None
    saved = [k for k in range(STEPS) if all(path(k, i).exists() for i in range(count))]
    begin = max(saved, default=0)
    if saved:
        held = restore(begin)
    else:
        start = {"up": {"kernel": np.ones((count, 8, 4), np.float32) * np.arange(1, 9)[:, None] / 8}}
        params = jax.tree.map(lambda x: place(x, P("workers", "fsdp")), start)
        held = mapped(lambda p: (p, tx.init(p)), (specs[0],))(params)
    for k in range(begin, STEPS):
        if k == dies and index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        held = step(*held, batch(k))
        jax.block_until_ready(held)
        if k + 1 in (2, 3):
            save(k + 1, held)
    mine = np.stack([s.data for s in held[0]["up"]["kernel"].addressable_shards])
    print("from", begin, "to", mine.astype(np.float64).tobytes().hex())
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_a_killed_worker_goes_on_where_all_were(count, tmp_path):
    said = {}
    for name, dies in (("whole", -1), ("killed", 4)):
        folder = tmp_path / name
        folder.mkdir()
        running = together.start(PROCESS, count, 2, count, folder, dies)
        if dies < 0:
            said[name] = together.end(running)
            continue
        try:
            assert running[1].wait(240) == -9
            # What remains waits for a message that nobody sends; a scheduler kills it.
            time.sleep(0.5)
        finally:
            together.stop(running)
        said[name] = together.end(together.start(PROCESS, count, 2, count, folder, -1))
    last = {name: [text.strip().splitlines()[-1].split() for text in texts] for name, texts in said.items()}
    assert all(line[:3] == ["from", "0", "to"] for line in last["whole"]), said
    assert all(line[:3] == ["from", "3", "to"] for line in last["killed"]), said
    assert [line[3] for line in last["whole"]] == [line[3] for line in last["killed"]]
