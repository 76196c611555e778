"""Reading an NNX model: the graph says which module holds a parameter, the module which axes it has."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from optax_muon.matrices._by_name import Finding, UnknownLeafError
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices.flax._layer_axes import Site, Untold, names_beside, own_features
from optax_muon.matrices.flax._layer_table import lookup, nnx_kinds
from optax_muon.matrices.flax._logical_names import layer_axes
from optax_muon.matrices.flax._reading import Modules, Reading, abstract, is_convolution, noted, read_site
from optax_muon.matrices.flax._roles import Attention
from optax_muon.matrices.flax._stacked_axes import Axes, candidates, choose_axes, lifted

# What a variable is that several modules share: the first of these roles that one of them gives it.
STRONGEST = ("embedding", "head", "router", "hidden", "vector")


class Use(NamedTuple):
    """One module that holds a variable; a shared variable has several."""

    path: str
    name: str
    module: Any
    owner: Any


def is_nnx(model: Any) -> bool:
    """Tell an NNX module."""
    return isinstance(model, nnx.Module)


def read_nnx(model: nnx.Module, wrt: Any, attention: Attention, modules: Modules) -> Reading:
    """Read every variable that ``wrt`` selects."""
    state = nnx.state(model, nnx.Param if wrt is None else wrt)
    # By identity of variables: a flat state shows a shared one under one of its paths alone.
    holders = _uses(model)
    variables = {_join(keys): _walk(model, keys) for keys, _ in nnx.to_flat_state(state)}
    uses = {path: holders[id(variable)] for path, variable in variables.items()}
    shapes = {use.path: tuple(variables[path].shape) for path, several in uses.items() for use in several}
    everyone = [use for several in uses.values() for use in several]
    stacks = choose_axes(shapes, {use.path: _possible(shapes[use.path], use, modules) for use in everyone})
    # Where every layer is stacked it is whole models that are, and one of them is the head.
    among_others = any(not axes for axes, _ in stacks.values())
    leaves, problems, untold = {}, {}, set()
    for path, variable in variables.items():
        read = functools.partial(_read, attention=attention, modules=modules)
        found = []
        for use in uses[path]:
            axes, guessed = stacks.get(use.path, (None, False))
            beside = names_beside(use.path, use.name, shapes)
            found.append(
                read(use, tuple(variable.shape), axes, guessed, stacked=bool(axes) and among_others, beside=beside)
            )
        leaf = _agreed(found, uses[path])
        if isinstance(leaf, Leaf):
            leaves[path] = leaf
        else:
            problems[path] = str(leaf)
            untold |= {path} if isinstance(leaf, Untold) else set()
    specs = {path: _spec(variable) for path, variable in variables.items()}
    windows = frozenset(
        path
        for path, several in uses.items()
        for use in several
        if is_convolution(lookup(nnx_kinds(), use.module), use.name)
    )
    layered = layer_axes({path: _names(variable) for path, variable in variables.items()})
    return Reading(abstract(nnx.as_pure(state)), leaves, problems, specs, windows, frozenset(untold), layered)


def _uses(model: nnx.Module) -> dict[int, list[Use]]:
    """Return the modules that hold each variable, by its identity."""
    nodes = list(nnx.iter_graph(model))
    modules = {keys: node for keys, node in nodes if isinstance(node, nnx.Module)}
    uses: dict[int, list[Use]] = {}
    for keys, module in modules.items():
        for name, value in vars(module).items():
            if isinstance(value, nnx.Variable):
                use = Use(_join((*keys, name)), name, module, modules.get(keys[:-1]) if keys else None)
                uses.setdefault(id(value), []).append(use)
    for keys, node in nodes:
        if isinstance(node, nnx.Variable) and id(node) not in uses:
            # In a list or a dict, which is no module: the nearest module around it holds it.
            cut = max(n for n in range(len(keys)) if keys[:n] in modules)
            uses[id(node)] = [Use(_join(keys), _join(keys[cut:]), modules[keys[:cut]], None)]
    return uses


def _possible(shape: tuple[int, ...], use: Use, modules: Modules) -> Sequence[Axes]:
    """Axes that may number layers; none for a parameter whose module does not say its own shape."""
    kind = lookup(nnx_kinds(), use.module)
    if use.name in (lookup(modules, use.module) or {}):
        return ()
    sides = own_features(use.module) if kind is None and use.name in ("kernel", "w", "weight") else None
    if sides is not None:
        orders = {sides[0] + sides[1], sides[1] + sides[0]}
        return list(dict.fromkeys(axes for inner in sorted(orders) for axes in candidates(shape, inner)))
    if kind is None or use.name not in (*kind.names, "bias"):
        return ()
    return candidates(shape, kind.shape(use.module, use.name))


def _read(
    use: Use, shape: tuple[int, ...], stack: Axes | None, guessed: bool, *,
    stacked: bool, beside: frozenset[str], attention: Attention, modules: Modules,
) -> Leaf | UnknownLeafError:  # fmt: skip
    """Read one use of a variable of ``shape``, whose axes ``stack`` number layers; None where none fit."""
    kind, kinds, axes = lookup(nnx_kinds(), use.module), nnx_kinds(), stack or ()
    inner = tuple(length for axis, length in enumerate(shape) if axis not in axes)
    site = Site(use.path, use.name, inner, use.module, use.owner, stacked=stacked, beside=beside)
    told = use.name in (lookup(modules, use.module) or {})
    # Someone replaced the array: guessing among axes that fit nothing would be silence about a mistake.
    if kind is not None and use.name in kind.names and stack is None and not told:
        expected = kind.shape(use.module, use.name)
        return UnknownLeafError(f"{site.place} was made for a {use.name} of shape {expected}, and this is another")
    found = read_site(site, kinds, attention, modules)
    if isinstance(found, UnknownLeafError):
        return found
    if guessed:
        found = Finding(found.leaf, f"{found.reason}; several axes fit the stack, the leading taken", True)
    return noted(found, lambda leaf: lifted(leaf, len(shape), axes))


def _agreed(leaves: Sequence[Leaf | UnknownLeafError], uses: Sequence[Use]) -> Leaf | UnknownLeafError:
    """One leaf for a variable that several modules share."""
    told = [leaf for leaf in leaves if isinstance(leaf, Leaf)]
    if not told:
        return next(leaf for leaf in leaves if isinstance(leaf, UnknownLeafError))
    # A role of the user's own, which the list lacks, comes before all.
    best = min(told, key=lambda leaf: STRONGEST.index(leaf.role) if leaf.role in STRONGEST else 0)
    axes = {(leaf.reduction, leaf.output, leaf.split) for leaf in told}
    # A tied embedding is the table, whatever the axes of the head that reads it.
    if best.role != "embedding" and len(axes) > 1:
        paths = " and ".join(use.path for use in uses)
        return UnknownLeafError(f"shared as {paths}, which read its axes differently")
    return best


def _names(variable: nnx.Variable) -> Any:
    """Return the names of a variable's axes, as its metadata have them."""
    known = variable.get_metadata()
    return next((known[name] for name in ("sharding_names", "out_sharding", "sharding") if known.get(name)), None)


def _spec(variable: nnx.Variable) -> PartitionSpec | None:
    """Return a variable's spec: as its metadata say, else as its array is sharded."""
    sharding = getattr(variable.get_raw_value(), "sharding", None)
    if variable.get_metadata().get("out_sharding"):
        spec = nnx.get_partition_spec(variable).get_raw_value()
        # Logical names that no rule translates are no axes of the mesh over which the array is sharded.
        if not isinstance(sharding, NamedSharding) or _names_in(spec) <= {*sharding.mesh.axis_names}:
            return spec
    # An empty spec says nothing: on one device, or replicated by default before the user shards.
    return sharding.spec if isinstance(sharding, NamedSharding) and any(sharding.spec) else None


def _names_in(spec: Any) -> set[str]:
    """Return the names of a spec's axes."""
    entries = (entry if isinstance(entry, tuple) else (entry,) for entry in spec or ())
    return {name for entry in entries for name in entry if isinstance(name, str)}


def _walk(model: Any, keys: Sequence[Any]) -> Any:
    """Follow a state's keys through modules, lists and dicts."""
    for key in keys:
        model = getattr(model, key) if isinstance(key, str) and hasattr(model, key) else model[key]
    return model


def _join(keys: Sequence[Any]) -> str:
    """Join keys with slashes, as paths of parameters are written."""
    return "/".join(map(str, keys))
