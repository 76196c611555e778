"""Program size and compile time by the number of layers, for one TPU chip that is not there.

Needs ``pip install 'jax[tpu]'`` in an environment of its own; nothing runs on a TPU. CPU seconds are those of tracing,
lowering and compiling one update, of one process and one time.
Run: python -m tests.benchmarks.depth [layers ...]
"""

import sys
import time

from tests.benchmarks import ahead, cycles  # first, as it says

import jax  # isort: skip

import optax_muon as om
from tests.benchmarks import models, record

WIDTH = 256
NOTES = (
    "Float32 matrices qkv, proj, up and down of every layer, width 256, momentum donated, on a v5e. CPU seconds to "
    "trace, lower and compile; the arguments are parameters, gradients and state. Stacked: the layers lie in one array "
    "for each of the four, as scanned modules store them."
)


def row(layers, stacked):
    """Compile one update of a model of so many layers, stacked in one array or each in its own."""
    params, leaves = (models.stacked if stacked else models.gpt)(layers, WIDTH)
    jax.clear_caches()
    start = time.process_time()
    compiled = ahead.update(om.muon(0.02, leaves=leaves), params)
    seconds = time.process_time() - start
    text = compiled.as_text()
    cost = cycles.read(text)
    arguments = len(jax.tree.leaves(params))
    return {
        "layers": layers,
        "stacked": stacked,
        "arguments": arguments,
        "compile CPU s": seconds,
        "HLO lines": text.count("\n"),
        "kernels": text.count("estimated_cycles"),
        "code MB": compiled.memory_analysis().generated_code_size_in_bytes / 1e6,
        "Mcycles": "-" if cost.cycles is None else cost.cycles / 1e6,
    }


if __name__ == "__main__":
    ahead.devices()
    rows = []
    for stacked in (False, True):
        for layers in [int(argument) for argument in sys.argv[1:]] or (12, 24, 48):
            rows.append(row(layers, stacked))
            print(rows[-1], flush=True)
    record.write("depth", "Program size and compile time by depth, one v5e chip, compiled only", rows, NOTES)
