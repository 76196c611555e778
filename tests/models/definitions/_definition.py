"""What a definition is made of."""

import dataclasses
import importlib.abc
import importlib.machinery
import importlib.util
import os
import pathlib
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

# Attention as Linen's own module has it, whose parameters stand under these names in many projects.
ATTENTION = """
    query/kernel           hidden ioo
    key/kernel             hidden ioo
    value/kernel           hidden ioo
    out/kernel             hidden iio
    pos_embedding          vector|embedding bio
"""


@dataclasses.dataclass(frozen=True)
class Nnx:
    """An NNX model: a function that makes it, and the arguments of its call."""

    make: Callable[[], Any]
    inputs: Sequence[Any]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Linen:
    """A Linen model, and the arguments of its call."""

    module: Any
    inputs: Sequence[Any]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Call:
    """Any other model: a function of parameters, a function that makes them, and inputs."""

    fn: Callable[..., Any]
    make: Callable[[], Any]
    inputs: Sequence[Any]


@dataclasses.dataclass(frozen=True)
class Definition:
    """One public model definition.

    Attributes:
        name: project and model.
        file: where the project defines it.
        truth: pairs of a glob and a truth, in order.
        build: imports the project and returns its model.
    """

    name: str
    file: str
    truth: Sequence[tuple[str, str]]
    build: Callable[[], "Model"]


Model = Nnx | Linen | Call
DEFINITIONS: dict[str, Definition] = {}

FLAX = """
    bias            vector
    scale           vector
    kernel          hidden io
    kernel          hidden iiio
    embedding       embedding io
"""


def lines(text: str) -> list[tuple[str, str]]:
    """Split a table of globs and truths."""
    rows = (line.split(None, 1) for line in text.splitlines() if line.strip())
    return [(glob, truth.strip()) for glob, truth in rows]


def definition(name: str, file: str, truth: str = "", common: str = FLAX) -> Callable[[Any], Any]:
    """Register the decorated function; ``truth`` goes before what is common to the project."""

    def register(build: Callable[[], Model]) -> Callable[[], Model]:
        DEFINITIONS[name] = Definition(name, file, lines(truth + "\n" + common), build)
        return build

    return register


def shape(*sides: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    """An input."""
    return jax.ShapeDtypeStruct(sides, dtype)


def ints(*sides: int) -> jax.ShapeDtypeStruct:
    """An input of tokens."""
    return jax.ShapeDtypeStruct(sides, jnp.int32)


class _Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes empty modules in place of libraries that a model's file imports and its definition does not need."""

    def __init__(self, names: Sequence[str]):
        self.names = names

    def has(self, fullname: str) -> bool:
        return any(f"{fullname}.".startswith(f"{name}.") for name in self.names)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if self.has(fullname):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        module = mock.MagicMock(name=spec.name)
        module.__spec__, module.__path__, module.__name__, module.__version__ = spec, [], spec.name, "0"
        return module

    def exec_module(self, module: Any) -> None:
        pass


def absent(*names: str) -> None:
    """Let imports of these libraries succeed without them."""
    sys.meta_path.insert(0, _Absent(names))


def forget_absent() -> None:
    """Take them out again once a model is made: libraries ask which frameworks are there."""
    for finder in (finder for finder in sys.meta_path if isinstance(finder, _Absent)):
        for name in [name for name in sys.modules if finder.has(name)]:
            del sys.modules[name]


def load(project: str, file: str) -> Any:
    """Import one file of a checkout by its path, for projects whose files share names; its folder is importable."""
    path = pathlib.Path(os.environ["MODELS_SOURCE"]) / project / file
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(file.removesuffix(".py").replace("/", "_"), path)
    module = importlib.util.module_from_spec(spec)  # pyright: ignore[reportArgumentType]
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)  # pyright: ignore[reportOptionalMemberAccess]
    return module


def bare(package: str) -> None:
    """Let the modules of a package be imported without what its own ``__init__`` imports."""
    for name in (package.rsplit(".", n)[0] for n in reversed(range(package.count(".") + 1))):
        found = [path for path in (pathlib.Path(f) / name.replace(".", "/") for f in sys.path) if path.is_dir()]
        module = types.ModuleType(name)
        module.__path__ = [str(found[0])]
        sys.modules.setdefault(name, module)


def old_names() -> None:
    """Give JAX the names that it had when older projects were written."""
    from jax._src import core

    clip = jnp.clip

    def old_clip(x: Any, min: Any = None, max: Any = None, *, a_min: Any = None, a_max: Any = None) -> Any:
        return clip(x, a_min if min is None else min, a_max if max is None else max)

    jnp.clip = old_clip  # pyright: ignore[reportAttributeAccessIssue]
    jnp.DeviceArray = jax.Array  # pyright: ignore[reportAttributeAccessIssue]
    core.as_named_shape = lambda shape: shape  # pyright: ignore[reportAttributeAccessIssue]
