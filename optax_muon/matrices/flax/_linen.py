"""Reading a Linen model: a traced call shows every module at work, and boxes show where layers are stacked."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax import struct
from flax.core import meta
from jax.sharding import PartitionSpec
from jaxtyping import PyTree

from optax_muon.matrices._by_name import Finding, UnknownLeafError
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path
from optax_muon.matrices.flax._layer_axes import Site, Untold, names_beside
from optax_muon.matrices.flax._layer_table import linen_kinds, lookup
from optax_muon.matrices.flax._logical_names import layer_axes
from optax_muon.matrices.flax._reading import Modules, Reading, abstract, is_convolution, noted, read_site
from optax_muon.matrices.flax._roles import Attention
from optax_muon.matrices.flax._stacked_axes import Axes, candidates, lifted

COLLECTION = "params"


class Call(NamedTuple):
    """A Linen model with the call that makes its parameters."""

    model: nn.Module
    inputs: Sequence[Any]
    options: Mapping[str, Any]

    def trace(self, interceptor: Any) -> PyTree:
        """Return the abstract variables, boxes kept, of an initialisation that is watched and never run."""
        leaves, structure = jax.tree.flatten((self.inputs, dict(self.options)))
        # eval_shape takes arrays alone: flags and strings stay outside, or the model could not branch on them.
        is_array = [isinstance(x, jax.Array | np.ndarray | jax.ShapeDtypeStruct) for x in leaves]

        def init(arrays: list[Any]) -> PyTree:
            """Initialise with traced arrays and the other arguments as they were given."""
            traced = iter(arrays)
            values = [next(traced) if array else x for x, array in zip(leaves, is_array, strict=True)]
            inputs, options = jax.tree.unflatten(structure, values)
            with nn.intercept_methods(interceptor):
                # The key is never used: everything here is abstract.
                return self.model.init(jax.random.key(0), *inputs, **options)

        return jax.eval_shape(init, [x for x, array in zip(leaves, is_array, strict=True) if array])


def is_linen(model: Any) -> bool:
    """Tell a Linen module."""
    return isinstance(model, nn.Module)


def read_linen(
    model: nn.Module, inputs: Sequence[Any], options: Mapping[str, Any], attention: Attention, modules: Modules
) -> Reading:
    """Read every parameter that initialising with these inputs makes."""
    call = Call(model, inputs, options)
    sites: dict[str, list[Site]] = {}
    variables = call.trace(functools.partial(_record, sites))
    boxed = variables.get(COLLECTION, {})
    boxes = by_path(boxed, is_leaf=meta.is_axis_metadata)
    specs = {path: _spec(x) for path, x in boxes.items()}
    shapes = abstract(meta.unbox(boxed))
    table = by_path(shapes)
    stacked = {path for path in table if path in sites and len(sites[path][0].shape) < len(table[path].shape)}
    # A second trace, for the models that stack layers alone.
    stacks = _stacks(call, stacked) if stacked else {}
    # Where every layer is stacked it is whole models that are, and one of them is the head.
    among_others = len(stacked) < len(table)
    leaves, problems, untold = {}, {}, set()
    for path, x in table.items():
        here = [
            site._replace(stacked=path in stacked and among_others, beside=names_beside(path, site.name, table))
            for site in sites.get(path, [])
        ]
        leaf = _read(x.shape, here, stacks.get(path), attention, modules)
        if isinstance(leaf, Leaf):
            leaves[path] = leaf
        else:
            problems[path] = str(leaf)
            untold |= {path} if isinstance(leaf, Untold) else set()
    windows = frozenset(
        path
        for path in table
        for site in sites.get(path, [])
        if is_convolution(lookup(linen_kinds(), site.module), site.name)
    )
    layered = layer_axes({path: getattr(x, "names", None) for path, x in boxes.items()})
    return Reading(shapes, leaves, problems, specs, windows, frozenset(untold), layered, variables)


def _record(sites: dict[str, list[Site]], call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Note the parameters of every module that was called, the innermost first: an interceptor."""
    result = call(*args, **kwargs)
    module = context.module
    for path, name, value in _own(module):
        # The parent of a top module is a scope or a sentinel.
        owner = module.parent if isinstance(module.parent, nn.Module) else None
        equation = next((x for x in (*args, *kwargs.values()) if isinstance(x, str) and "->" in x), None)
        sites.setdefault(path, []).append(Site(path, name, tuple(meta.unbox(value).shape), module, owner, equation))
    return result


def _own(module: nn.Module) -> list[tuple[str, str, Any]]:
    """Path, name and value of the parameters that a module's own scope holds."""
    if module.scope is None:
        return []
    values = module.variables.get(COLLECTION, {})
    where = "/".join(map(str, module.scope.path))
    return [
        (f"{where}/{name}" if where else name, name, value)
        for name, value in values.items()
        if not isinstance(value, Mapping)
    ]


def _read(
    shape: tuple[int, ...], sites: Sequence[Site], stack: Axes | None, attention: Attention, modules: Modules
) -> Leaf | UnknownLeafError:
    """Ask the modules that hold a parameter, innermost first; scopes that are shared have several."""
    problem = Untold("no module that was called holds it")
    for site in sites:
        extra = len(shape) - len(site.shape)
        fits = candidates(shape, site.shape)
        # The boxes' word counts only where it fits; a transformation of the user's own may move axes without telling.
        axes, guessed = ((), False) if not extra else (stack, False) if stack in fits else (None, True)
        if axes is None:
            axes = fits[0] if fits else ()
        found = read_site(site, linen_kinds(), attention, modules)
        if isinstance(found, UnknownLeafError):
            problem = found
            continue
        if found.leaf.output and extra and not fits:
            problem = UnknownLeafError(f"{site.place} has the shape {site.shape} there, which does not fit")
            continue
        if guessed and found.leaf.output and len(fits) > 1:
            found = Finding(found.leaf, f"{found.reason}; several axes fit the stack, the leading taken", True)
        return noted(found, functools.partial(lifted, rank=len(shape), stack=axes))
    return problem


class Box(struct.PyTreeNode, meta.AxisMetadata):
    """A parameter whose axes are marked, so that `nn.scan` and `nn.vmap` show where they put theirs."""

    value: Any
    marks: tuple[bool, ...] = struct.field(pytree_node=False)

    def unbox(self) -> Any:
        """Return the parameter."""
        return self.value

    def replace_boxed(self, val: Any) -> "Box":
        """Keep the marks around another value."""
        return self.replace(value=val)

    def add_axis(self, index: int, params: Any) -> "Box":
        """Mark a new axis where a transformation inserts one."""
        at = index % (len(self.marks) + 1)
        return self.replace(marks=(*self.marks[:at], True, *self.marks[at:]))

    def remove_axis(self, index: int, params: Any) -> "Box":
        """Drop the mark of an axis that a transformation takes out again."""
        at = index % len(self.marks)
        return self.replace(marks=self.marks[:at] + self.marks[at + 1 :])


def _stacks(call: Call, paths: set[str]) -> dict[str, Axes]:
    """Trace once more with boxes around these parameters; return the axes that transformations added, by path."""

    def box(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        """Call, then box the parameters that the module made."""
        result = call(*args, **kwargs)
        for path, name, value in _own(context.module):
            if path in paths and not isinstance(value, Box):
                rank = len(meta.unbox(value).shape)
                # Inside the scan or vmap, whose own bookkeeping for sharding metadata then calls `add_axis` on the box.
                context.module.scope.put_variable(COLLECTION, name, Box(value, (False,) * rank))
        return result

    tree = by_path(call.trace(box).get(COLLECTION, {}), is_leaf=meta.is_axis_metadata)
    return {
        path: tuple(axis for axis, new in enumerate(x.marks) if new) for path, x in tree.items() if isinstance(x, Box)
    }


def _spec(x: Any) -> PartitionSpec | None:
    """Return the spec of a box; logical names count only where rules translate them."""
    if isinstance(x, nn.LogicallyPartitioned):
        rules = x.rules or nn.get_logical_axis_rules()
        # Logical names are no mesh axes; read as such they would shard over axes that do not exist.
        return nn.logical_to_mesh_axes(x.names, rules) if rules else None
    return x.get_partition_spec() if isinstance(x, nn.Partitioned) else None
