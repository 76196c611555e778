"""Several processes on this machine that form one JAX program."""

import os
import socket
import subprocess
import sys
import textwrap


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def start(code: str, processes: int, devices: int, *arguments: object) -> list[subprocess.Popen]:
    """Start ``python -c code port index *arguments`` once for each index, each with some CPU devices."""
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(port), str(index), *map(str, arguments)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for index in range(processes)
    ]  # fmt: skip


def end(running: list[subprocess.Popen], patience: float = 240) -> list[str]:
    """Wait for all, and give what each has said; none outlives this."""
    try:
        return [process.communicate(timeout=patience)[0] for process in running]
    finally:
        stop(running)


def stop(running: list[subprocess.Popen]) -> None:
    """Kill what still runs."""
    for process in running:
        process.kill()
        process.wait()
