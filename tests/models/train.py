"""Train public models for five jitted steps with the leaves that their calls show, with no rule.

    python -m tests.models.train --source FOLDER [--only GLOB] [--out FILE]

Every matrix goes to Muon, everything else to AdamW. The loss is the mean squared distance of all results from random
targets that stay: what is asked is that it is finite and falls.
"""

import argparse
import fnmatch
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

import optax_muon as om
from tests.models.definitions._definition import DEFINITIONS, Call, Model, Nnx, forget_absent
from tests.models.measure import INSTALLED, folder_of

STEPS = 5
# One of each architecture that people train, by others' definitions.
NAMED = (
    "tunix/llama3",
    "gemma/gemma3",
    "maxtext/llama2",
    "maxtext/mixtral",
    "maxtext/deepseek",
    "bonsai/mamba2",
    "vision_transformer/vit",
    "bonsai/unet",
    "t5x/t5",
    "bonsai/whisper",
    "shortcut_models/dit",
    "flax/ogbg_graph_net",
    "s5/classification",
    "mamba_minimal_jax/mamba",
)


def arrays(shapes: PyTree, seed: int) -> PyTree:
    """Numbers for inputs: small integers, true, normal; what is no shape stays."""
    rng = np.random.default_rng(seed)

    def made(x: Any) -> Any:
        if not isinstance(x, jax.ShapeDtypeStruct):
            return x
        if jnp.issubdtype(x.dtype, jnp.bool_):
            return jnp.ones(x.shape, x.dtype)
        if jnp.issubdtype(x.dtype, jnp.integer):
            return jnp.asarray(rng.integers(0, 10, x.shape), x.dtype)
        return jnp.asarray(rng.normal(size=x.shape), x.dtype)

    return jax.tree.map(made, shapes, is_leaf=lambda x: isinstance(x, jax.ShapeDtypeStruct))


def prepared(model: Model) -> tuple[Callable[..., Any], PyTree, tuple[Any, ...], dict[str, Any], PyTree]:
    """Function, parameters with numbers, inputs and options of a model's call, and the leaves that it shows."""
    inputs = tuple(arrays(tuple(model.inputs), 0))
    if isinstance(model, Call):
        params = model.make()
        return model.fn, params, inputs, {}, om.leaves_from_call(model.fn, params, *model.inputs)
    from optax_muon.matrices.flax import _calls

    options = arrays(dict(model.options), 2)
    if isinstance(model, Nnx):
        module = model.make()
        fn, (params, frozen), given = _calls.nnx_call(module, None, inputs)
    else:
        module = model.module
        keys = {name: jax.random.key(i) for i, name in enumerate(("params", "dropout", "label_dropout"))}
        fn, (params, frozen), given = _calls.linen_call(module, module.init(keys, *inputs, **options), inputs)

    def call(params: PyTree, *inputs: Any, **options: Any) -> Any:
        return fn((params, frozen), *inputs, **options)

    return call, params, given, options, om.leaves_from_flax(module, *model.inputs, **model.options)


def trained(model: Model) -> list[float]:
    """Losses before every step and after the last."""
    fn, params, inputs, options, leaves = prepared(model)
    tx = om.for_matrices(om.muon(0.02), otherwise=optax.adamw(3e-3), leaves=leaves)

    def floats(params: PyTree) -> list[jax.Array]:
        results = jax.tree.leaves(fn(params, *inputs, **options))
        return [x for x in results if jnp.issubdtype(x.dtype, jnp.floating)]

    targets = arrays(jax.eval_shape(floats, params), 1)

    def loss(params: PyTree) -> jax.Array:
        return sum(jnp.mean((x - y) ** 2) for x, y in zip(floats(params), targets, strict=True)) / len(targets)

    @jax.jit
    def step(params: PyTree, state: PyTree) -> tuple[PyTree, PyTree, jax.Array]:
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    state, losses = tx.init(params), []
    for _ in range(STEPS):
        params, state, value = step(params, state)
        losses.append(float(value))
    return [*losses, float(loss(params))]


def run_project(project: str, only: str) -> dict[str, list[float]]:
    """Train the named models of one project, in this process."""
    if project not in INSTALLED:
        folder = folder_of(project, pathlib.Path(os.environ["MODELS_SOURCE"]))
        sys.path[:0] = [str(folder), str(folder / "src")]
    importlib.import_module(f"tests.models.definitions.{project}")
    names = [name for name in NAMED if name.startswith(f"{project}/") and fnmatch.fnmatchcase(name, only)]
    found = {}
    with jax.numpy_rank_promotion("allow"):
        for name in names:
            model = DEFINITIONS[name].build()
            forget_absent()
            found[name] = trained(model)
    return found


def main() -> None:
    """Train every project's models in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, type=pathlib.Path, help="folder of checkouts, each with a COMMIT")
    parser.add_argument("--only", default="*", help="glob of names")
    parser.add_argument("--out", type=pathlib.Path, help="file for the record")
    parser.add_argument("--inner", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inner:
        os.environ["MODELS_SOURCE"] = str(arguments.source)
        arguments.out.write_text(json.dumps(run_project(arguments.inner, arguments.only)))
        return
    records: dict[str, list[float]] = {}
    for project in dict.fromkeys(name.split("/")[0] for name in NAMED if fnmatch.fnmatchcase(name, arguments.only)):
        with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
            inner = [sys.executable, "-m", "tests.models.train", "--inner", project, "--out", file.name]
            subprocess.run([*inner, "--source", str(arguments.source), "--only", arguments.only], check=False)
            found = json.loads(pathlib.Path(file.name).read_text() or "{}")
        records |= found
        for name, losses in found.items():
            print(f"{name:28}", " ".join(f"{x:9.4f}" for x in losses), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
