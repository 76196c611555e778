"""Leaves of a Flax model, read from its modules."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxtyping import PyTree

from optax_muon.matrices._by_name import Finding, Rules
from optax_muon.matrices._coverage import require_matches
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._resolve import find
from optax_muon.matrices.call._findings import findings_from_call
from optax_muon.matrices.flax._reading import Modules, alone
from optax_muon.matrices.flax._roles import Attention, routers
from optax_muon.matrices.flax._with_call import with_call
from optax_muon.matrices.flax._with_names import with_names, with_plain_names


def leaves_from_flax(
    model: Any,
    *example_inputs: Any,
    wrt: Any = None,
    rules: Rules = (),
    strict: bool = True,
    attention: Attention = Attention(),  # noqa: B008 - immutable
    modules: Modules | None = None,
    **example_options: Any,
) -> PyTree[Leaf]:
    """Read the role and the axes of every parameter from the modules of a Flax model.

    Use it instead of names and ranks wherever the model is at hand: a kernel of rank three is stacked layers for one
    module and attention heads for another, and only the module knows. Nothing is computed: a Linen model is traced.

    Args:
        model: an `nnx.Module`, or a `linen.Module` that is not bound.
        *example_inputs: of the model's call, arrays or `jax.ShapeDtypeStruct`. With them the call is traced, and its
            products say which axes are contracted, which matrix is the head, what is ranked and what comes first; the
            modules' names, metadata and options stand beside. An NNX model can do without, a Linen model cannot.
        wrt: filter of the trained variables of an NNX model, as for `nnx.Optimizer`; default `nnx.Param`.
        rules: pairs of a path glob and a role or a `Leaf`, as for `for_matrices`; the first match wins. A role keeps
            the axes that the module tells.
        strict: raise where a rule matches no parameter, as `for_matrices` does.
        attention: what one matrix is among the projections of an attention, an `Attention`.
        modules: leaves of your own layers: module type -> name of a parameter -> `Leaf`, or a function from the module
            to it. Axes count from the end (negative), since an NNX layer of your own does not say how many stacked axes
            stand in front of them. A hidden leaf gets the role and the pieces that the module's name tells, as
            `nnx.Linear` does; a class that keeps its einsum's equation, or is called with it, needs no entry.
        **example_options: keywords of the call, ``method`` among them.

    Returns:
        A tree of `Leaf` like the parameters (`nnx.State`, or Linen's ``params``), for `describe`, `labels`,
        `for_matrices` and `dimension_numbers`.

    Raises:
        UnknownLeafError: naming the parameters, and their modules, that need a rule.
        ValueError: for what is no instance of a Flax module, for arguments of the other kind of model, or for axes in
            ``modules`` that are not negative; for a rule that matches nothing, naming the nearest path.

    Example:
        >>> import optax_muon as om
        >>> from flax import nnx
        >>> model = nnx.eval_shape(lambda: nnx.Conv(3, 8, (5, 5), rngs=nnx.Rngs(0)))
        >>> om.leaves_from_flax(model)["kernel"].reduction
        (0, 1, 2)
    """
    # Here and not above: Flax takes a second to import, and plain trees do without it.
    from optax_muon.matrices.flax._calls import linen_call, nnx_call
    from optax_muon.matrices.flax._linen import is_linen, read_linen
    from optax_muon.matrices.flax._nnx import is_nnx, read_nnx

    _check_modules(modules or {})
    if is_nnx(model):
        if example_options and not example_inputs:
            name = next(iter(example_options))
            raise ValueError(f"leaves_from_flax: without inputs an NNX model is not called, so {name!r} is unknown")
        reading = read_nnx(model, wrt, attention, modules or {})
        call = nnx_call(model, wrt, example_inputs) if example_inputs else None
    elif is_linen(model):
        if wrt is not None:
            raise ValueError("leaves_from_flax: wrt filters an NNX model; a Linen model's leaves are its 'params'")
        reading = read_linen(model, example_inputs, example_options, attention, modules or {})
        call = linen_call(model, reading.variables, example_inputs)
    else:
        what = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise ValueError(f"leaves_from_flax: takes an instance of a Flax module, not {what}; om.leaves takes trees")
    if call is not None:
        fn, params, inputs = call
        shown = findings_from_call(fn, params, inputs, example_options)
        reading = with_plain_names(with_call(reading, _trained(shown), attention))
    else:
        reading = with_names(alone(reading))
    # Routers last: only now is it known how many experts stand beside a layer called gate.
    leaves = reading.leaves | routers({path: x.shape for path, x in by_path(reading.shapes).items()}, reading.leaves)
    if strict:
        require_matches(reading.shapes, rules)
    found = find(reading.shapes, rules, leaves, reading.problems)

    def finish(path: str, x: Any, entry: Finding) -> Leaf:
        """Write spec, reason and doubt into the leaf that was found."""
        # A rule's own spec is said by hand, and wins.
        spec = reading.specs.get(path) if entry.leaf.spec is None else entry.leaf.spec
        return dataclasses.replace(entry.leaf, spec=spec, why=entry.reason, assumed=entry.assumed)

    return map_by_path(finish, reading.shapes, found)


def _trained(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return findings of the first of a call's two trees of parameters, by path in it."""
    return {path.removeprefix("0/"): found for path, found in shown.items() if path.startswith("0/")}


def _check_modules(modules: Modules) -> None:
    """Raise on axes that are not counted from the end."""
    for module, leaves in modules.items():
        for name, leaf in leaves.items():
            if isinstance(leaf, Leaf) and any(axis >= 0 for axis in leaf.reduction + leaf.output):
                raise ValueError(
                    f"leaves_from_flax: modules: axes of {name!r} in {module.__name__} must be negative, counted from "
                    f"the end, not {leaf.reduction} and {leaf.output}"
                )
