"""A mesh whose shardings cannot be known while tracing: the partitioner tells them when it compiles the program."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

from optax_muon.linalg import Info, SpectralMap
from optax_muon.linalg._op_arrays import arrays_of, with_arrays
from optax_muon.matrices._leaf import matrix_shapes
from optax_muon.placement._local import Local
from optax_muon.placement._placement import Done, Work
from optax_muon.placement._sharding import Layout, sizes_of, spec_dims
from optax_muon.placement.exchange._execute import execute
from optax_muon.placement.exchange._schedule import Schedule, Shard

Plan = Callable[[SpectralMap, Sequence[Work], Sequence[Layout]], tuple[Schedule, list[Shard]]]
Run = Callable[[SpectralMap, Sequence[Work]], list[Done]]


def run_by_partitioner(
    op: SpectralMap, works: Sequence[Work], plan: Plan, exchange_dtype: Any, by_constraints: Run
) -> list[Done]:
    """Map every array by the plan for the shardings that the partitioner chose, as if they had been known.

    What is exchanged depends on them, and so is written while the program is compiled. Such a program has no derivative
    and cannot be mapped over, so those are taken of another that computes the same, and a TPU has that one alone.

    Args:
        op: the map.
        works: the matrices.
        plan: makes the schedule of arrays of known layouts.
        exchange_dtype: see `OverMesh`.
        by_constraints: maps the arrays where nothing is known.
    """

    def mapped(run: Run) -> Callable[[list[Array], list[Array]], list[Array]]:
        """Make a function of the operation's own arrays and the matrices."""

        def function(numbers: list[Array], arrays: list[Array]) -> list[Array]:
            given = [w._replace(array=x) for w, x in zip(works, arrays, strict=True)]
            return [done.array for done in run(with_arrays(op, numbers), given)]

        return function

    otherwise = mapped(by_constraints)
    asked = custom_vmap(_asking(op, works, plan, exchange_dtype, mapped))

    @asked.def_vmap
    def _(axis_size: int, batched: Any, *args: list[Array]) -> tuple[list[Array], list[bool]]:
        del axis_size
        axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, tuple(batched))
        return jax.vmap(otherwise, in_axes=axes)(*args), [True] * len(works)

    differentiable = jax.custom_jvp(asked)
    differentiable.defjvp(lambda primals, tangents: jax.jvp(otherwise, primals, tangents))
    # JAX does not hand the question to a TPU's compiler (github.com/jax-ml/jax/issues/38196).
    arrays = lax.platform_dependent(arrays_of(op), [w.array for w in works], tpu=otherwise, default=differentiable)
    # A map has no state and learns nothing of any stack.
    counts = [len(matrix_shapes(w.array.shape, w.leaf)) for w in works]
    return [Done(x, ((),) * count, (Info(),) * count) for x, count in zip(arrays, counts, strict=True)]


def _asking(
    op: SpectralMap, works: Sequence[Work], plan: Plan, exchange_dtype: Any, mapped: Callable[[Run], Any]
) -> Callable[[list[Array], list[Array]], list[Array]]:
    """Make the function whose program is written when shardings are known."""

    @custom_partitioning
    def function(numbers: list[Array], arrays: list[Array]) -> list[Array]:
        """On one device; within a jit of its own, for its constants may not be the function's."""
        return jax.jit(mapped(Local().run))(numbers, arrays)

    def partition(mesh: Any, given: tuple[list[Any], list[Any]], results: list[Any]) -> tuple[Any, ...]:
        """Plan the exchange; what does not divide evenly is made whole first."""
        if not all(isinstance(x.sharding, NamedSharding) for x in given[1]):
            raise ValueError(
                "OverMesh(ask_partitioner=True): the program's arrays are on more than one mesh, so that their "
                "shardings have no names; leave ask_partitioner out"
            )
        dims = [spec_dims(x.sharding.spec, x.shape, mesh) for x in given[1]]
        specs = [PartitionSpec(*(dim or None for dim in each)) for each in dims]
        layouts = [Layout(mesh, each, spec=spec) for each, spec in zip(dims, specs, strict=True)]
        shapes = [w._replace(array=x) for w, x in zip(works, given[1], strict=True)]
        schedule, shards = plan(op, shapes, layouts)

        def run(op: SpectralMap, local: Sequence[Work]) -> list[Done]:
            """Run the schedule on this device's shards."""
            return execute(op, schedule, shards, local, sizes_of(mesh), exchange_dtype)

        whole = [NamedSharding(mesh, PartitionSpec())] * len(given[0])
        shardings = [NamedSharding(mesh, spec) for spec in specs]
        del results
        return mesh, mapped(run), shardings, (whole, shardings)

    numbers, side = _factors("n", arrays_of(op)), _factors("x", [w.array for w in works])
    function.def_partition(
        partition,
        # For programs without Shardy, which asks the rule.
        infer_sharding_from_operands=lambda mesh, given, results: [x.sharding for x in given[1]],
        sharding_rule=f"{', '.join([*numbers, *side])} -> {', '.join(side)}",
    )
    return function


def _factors(letter: str, arrays: Sequence[Any]) -> list[str]:
    """Name every dimension: a result is sharded as the matrix that it is made of."""
    return [" ".join(f"{letter}{i}_{axis}" for axis in range(len(x.shape))) for i, x in enumerate(arrays)]
