"""The whole training step of GPT-2 on a pod that is not there: memory, cycles and collectives of one chip.

Needs ``pip install 'jax[tpu]'`` and the examples' packages, in an environment of its own; nothing runs on a TPU. Rows of an
earlier run stay in the record unless they are made again.
Run: python -m tests.benchmarks.pod_step 8x8 16x16 [--preset gpt2-small]
"""

import argparse
import pathlib
import sys

from tests.benchmarks import ahead, record

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples"))

import jax
import jax.numpy as jnp
import optax
from gpt import presets
from gpt.layers import GPTConfig
from gpt.recipe import Recipe
from gpt_linen import compile_only
from gpt_linen.mesh import mesh_of
from gpt_linen.model import GPT
from gpt_linen.training import Training


class Peer(Recipe):
    """The same recipe with optax.contrib.muon, which is told the axes that we read."""

    def transformation(self, leaves=None, peak=None):
        def dimensions(leaf):
            if leaf.role != "hidden":
                return None
            return optax.contrib.MuonDimensionNumbers(leaf.reduction, leaf.output)

        def numbers(params):
            # `om.state_shardings` asks with a placeholder for the parameters to see which states are shaped like them.
            placeholder = jax.tree_util.treedef_is_leaf(jax.tree.structure(params))
            return optax.contrib.MuonDimensionNumbers() if placeholder else jax.tree.map(dimensions, leaves)

        muon = optax.contrib.muon(
            self.rate(self.peak),
            weight_decay=self.weight_decay,
            adam_learning_rate=self.rate(self.other_rate),
            muon_weight_dimension_numbers=numbers,
        )
        return optax.with_extra_args_support(muon)


RECIPES = {
    "adamw": Recipe("adamw"),
    "om.muon": Recipe("muon"),
    "optax.contrib.muon": Peer("muon"),
    "om.normuon": Recipe("normuon"),
}


def row(pod, name, sizes):
    config = GPTConfig(presets.GPT2_VOCABULARY, *(sizes[key] for key in ("context", "layers", "width", "heads")))
    model = GPT(config, jnp.dtype(sizes["dtype"]), remat=sizes["remat"])
    training = Training(model, RECIPES[name], mesh_of(list(ahead.devices(f"v5e:{pod}"))))
    found = compile_only.report(training, f"v5e:{pod}", sizes["batch"])
    print(name, found, sep="\n", flush=True)
    return {
        "pod": found.pod,
        "optimizer": name,
        "memory GB": found.memory / 1e9,
        "model Mcycles": found.model / 1e6,
        "optimizer Mcycles": found.optimizer / 1e6,
        "optimizer's share": found.share,
        "without estimate MB": found.silent / 1e6,
        "collectives": ", ".join(f"{n} {kind}" for kind, n in sorted(found.collectives.items())),
        "collectives MB": found.nbytes / 1e6,
        "beside kernels MB": found.beside_kernels / 1e6,
    }


def write(row, preset, sizes):
    """Put a row in the record, in place of that of the same pod and optimizer."""
    kept = [old for old in record.known("pod_step") if any(old[key] != row[key] for key in ("pod", "optimizer"))]
    note = (
        f"One step of {preset}, {sizes['batch']} x {sizes['context']} tokens, bfloat16, blocks rematerialised, "
        "FSDP over all chips. Cycles are the compiler's estimates; kernels without one count their bytes at the "
        "chip's memory bandwidth. Collectives are not in the cycles."
    )
    order = list(RECIPES)
    rows = sorted([*kept, row], key=lambda row: (len(row["pod"]), row["pod"], order.index(row["optimizer"])))
    record.write("pod_step", "A whole training step on a pod, per chip", rows, note)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("pods", nargs="*", default=["8x8"])
    parser.add_argument("--preset", default="gpt2-small", choices=list(presets.PRESETS)[1:])
    parser.add_argument("--only", choices=list(RECIPES), action="append")
    args = parser.parse_args()
    sizes = presets.PRESETS[args.preset]
    for pod in args.pods:
        for name in args.only or RECIPES:
            write(row(pod, name, sizes), args.preset, sizes)
