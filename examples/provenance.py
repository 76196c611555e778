"""Where a record comes from."""

import datetime
import importlib.metadata
import platform
import subprocess
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "optax", "flax", "optax-muon")


def provenance() -> dict[str, Any]:
    """Give date, commit, versions and machine."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit or "unknown",
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {len(jax.devices())} {jax.devices()[0].platform} device",
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    }
