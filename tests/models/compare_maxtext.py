"""Compare with the dimension numbers that MaxText itself gives to Optax's Muon, and time its published sizes.

    python -m tests.models.compare_maxtext --source FOLDER [--out FILE]

MaxText writes its axes by the names of its parameters; here they are read from the call. What only one of both sends to
Muon, and where the axes differ, is listed with both readings.
"""

import argparse
import importlib
import itertools
import json
import os
import pathlib
import sys
import time
from typing import Any

import jax
from flax import nnx

import optax_muon as om
from optax_muon.matrices._paths import by_path
from tests.models.definitions._definition import DEFINITIONS, Linen, Nnx
from tests.models.measure import Subject

NAMES = ("llama2", "mixtral", "deepseek", "gemma2", "qwen3_next", "gpt_oss")
SIZES = ("llama2-7b", "mixtral-8x7b", "qwen3-30b-a3b")


def ours(model: Linen) -> tuple[dict[str, Any], dict[str, tuple[int, ...]], float]:
    """Leaves by path, shapes, and the processor seconds that the reading took."""
    start = time.process_time()
    leaves = om.leaves_from_flax(model.module, *model.inputs, **model.options)
    seconds = time.process_time() - start
    found = by_path(leaves, is_leaf=lambda x: isinstance(x, om.Leaf))
    return found, {path: x.shape for path, x in by_path(Subject(model).params).items()}, seconds


def compared(model: Linen) -> dict[str, Any]:
    """Count parameters on which both agree, and list the others."""
    transform_logic = importlib.import_module("maxtext.utils.muon_utils").transform_logic
    leaves, shapes, seconds = ours(model)
    differ: dict[str, str] = {}
    for path, leaf in leaves.items():
        theirs = transform_logic(("params", *path.split("/")))
        rank = len(shapes[path])
        sides = None
        if theirs is not None:
            sides = tuple(sorted(axis % rank for axis in side) for side in (theirs.reduction_axis, theirs.output_axis))
        mine = (list(leaf.reduction), list(leaf.output)) if leaf.role == "hidden" else None
        if (sides and tuple(sides)) != mine:
            differ[path] = f"{shapes[path]}: {leaf.role} {mine or ''}, MaxText {sides or 'not Muon'}"
    return {
        "parameters": len(leaves),
        "agree": len(leaves) - len(differ),
        "seconds": round(seconds, 2),
        "differ": differ,
    }


def main() -> None:
    """Compare the small models, then time published sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, type=pathlib.Path, help="folder of checkouts")
    parser.add_argument("--out", type=pathlib.Path, help="file for the record")
    arguments = parser.parse_args()
    os.environ["MODELS_SOURCE"] = str(arguments.source)
    sys.path[:0] = [str(arguments.source / "maxtext" / "src")]
    module = importlib.import_module("tests.models.definitions.maxtext")
    record: dict[str, Any] = {"compared": {}, "seconds": {}}
    with jax.numpy_rank_promotion("allow"):
        for name in NAMES:
            found = compared(DEFINITIONS[f"maxtext/{name}"].build())  # pyright: ignore[reportArgumentType]
            record["compared"][name] = found
            print(name, {key: value for key, value in found.items() if key != "differ"}, flush=True)
            for path, text in found["differ"].items():
                print("   ", path, text, flush=True)
        kinds = {"NNX": module.in_nnx, "Linen": module.in_linen}
        for name, kind, scan in itertools.product(SIZES, kinds, (True, False)):
            model = kinds[kind](name, scan_layers=scan)
            made = nnx.eval_shape(model.make) if isinstance(model, Nnx) else model.module
            start = time.process_time()
            leaves = jax.tree.leaves(om.leaves_from_flax(made, *model.inputs, **model.options))
            seconds = time.process_time() - start
            key = f"{name}, {kind}, {'scanned' if scan else 'layer by layer'}"
            record["seconds"][key] = {"parameters": len(leaves), "seconds": round(seconds, 2)}
            print(key, len(leaves), round(seconds, 2), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
