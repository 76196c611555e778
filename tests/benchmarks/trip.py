"""The way of a gradient: files, functions and changes of file that one traced update passes.

``python -m tests.benchmarks.trip`` counts init and first update of `for_matrices(muon)` on 12 kernels and 12 biases,
each in a fresh process: on one device, and on an Explicit mesh of eight.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import threading
from collections.abc import Callable

LAYERS = 4


class Trip:
    """Counts calls into the package, in the order in which they happen."""

    def __init__(self, package: pathlib.Path):
        self.package, self.calls, self.entered = str(package), [], 0

    def watch(self, run: Callable[[], object]) -> None:
        """Note the file and the function of every Python call that ``run`` makes into the package."""

        def note(frame, event, _):
            name = frame.f_code.co_filename
            if event != "call" or not name.startswith(self.package):
                return
            self.calls.append((name.removeprefix(self.package + os.sep), frame.f_code.co_qualname))
            caller = frame.f_back
            while caller is not None and not caller.f_code.co_filename.startswith(self.package):
                caller = caller.f_back
            self.entered += caller is not None and caller.f_code.co_filename != name

        threading.setprofile(note)
        sys.setprofile(note)
        try:
            run()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def figures(self) -> dict:
        """Counts, with and without the maps of ``linalg``."""
        outside = [call for call in self.calls if not call[0].startswith("linalg")]
        return {
            "files": len({name for name, _ in self.calls}),
            "files outside linalg": sorted({name for name, _ in outside}),
            "functions": len(set(self.calls)),
            "changes of file": sum(a[0] != b[0] for a, b in zip(self.calls, self.calls[1:], strict=False)),
            "calls into another file": self.entered,
            "regular expressions": sum(name == "_by_name" for _, name in self.calls),
        }


def count(where: str) -> dict:
    """Trace one update, on one device or on an Explicit mesh."""
    import jax
    import jax.numpy as jnp
    import optax
    from jax.sharding import AxisType, NamedSharding
    from jax.sharding import PartitionSpec as P

    import optax_muon as om

    shapes = {"q_proj": (64, 64), "up_proj": (64, 256), "down_proj": (256, 64)}
    params = {
        f"layer_{i}": {
            name: {"kernel": jax.ShapeDtypeStruct(s, jnp.float32), "bias": jax.ShapeDtypeStruct(s[1:], jnp.float32)}
            for name, s in shapes.items()
        }
        for i in range(LAYERS)
    }
    if where == "mesh":
        mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(AxisType.Explicit,))
        jax.set_mesh(mesh)
        sharding = NamedSharding(mesh, P("fsdp"))
        params = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), params)
    tx = om.for_matrices(om.muon(0.02), otherwise=optax.adam(1e-3))
    trip = Trip(pathlib.Path(om.__file__).parent)

    def step(params):
        return tx.update(params, tx.init(params), params)

    trip.watch(lambda: jax.make_jaxpr(step)(params))
    return trip.figures() | {"python": platform.python_version(), "jax": jax.__version__}


def main() -> None:
    """Print the figures of both, or of one as JSON for the other process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--where", choices=("device", "mesh"))
    where = parser.parse_args().where
    if where:
        print(json.dumps(count(where)))
        return
    devices = "--xla_force_host_platform_device_count=8"
    for where in ("device", "mesh"):
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": devices if where == "mesh" else ""}
        command = [sys.executable, "-m", "tests.benchmarks.trip", "--where", where]
        found = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
        outside = found.pop("files outside linalg")
        print(where, found | {"files outside linalg": len(outside)})
        print("  " + " ".join(outside))


if __name__ == "__main__":
    main()
