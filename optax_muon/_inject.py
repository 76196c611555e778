"""Hyperparameters in the state, structure outside of it."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import optax

from optax_muon._named import remembered
from optax_muon._static_arguments import static_arguments

F = TypeVar("F", bound=Callable[..., optax.GradientTransformation])
# `optax.inject_hyperparams` takes any callable for a schedule of the step, also one that makes leaves or pairs.
NOT_SCHEDULES = ("leaves", "pairs", "placement")


def inject_hyperparams(make: F, static_args: str | Iterable[str] = (), hyperparam_dtype: Any = None) -> F:
    """Keep an optimizer's numbers in its state, to read or change between steps; schedules of any of them work.

    It is `optax.inject_hyperparams` that knows which arguments shape the program: whole numbers such as periods, ranks
    and step counts, and callables that make ``leaves`` or ``pairs``, stay as they are; rates, decays, thresholds and
    epsilons are in ``state.hyperparams``.

    Args:
        make: a named optimizer, a `functools.partial` of one, or any function that makes a transformation; arguments
            annotated as ``int``, ``bool``, ``str`` or ``Literal`` stay out of the state.
        static_args: further arguments that do.
        hyperparam_dtype: of the numbers in the state; None: the parameters' widest.

    Returns:
        A function of the same arguments, any number among which may be a schedule. What it makes goes into
        `for_matrices` with ``leaves`` and ``rules`` as the named optimizer itself does.

    Example:
        >>> import jax.numpy as jnp, optax, optax_muon as om
        >>> tx = om.inject_hyperparams(om.dion)(0.02, rank=2)
        >>> state = tx.init({"up": {"kernel": jnp.eye(4)}})
        >>> sorted(state.hyperparams)[:3], "rank" in state.hyperparams
        (['eps', 'learning_rate', 'momentum'], False)
        >>> state.hyperparams["learning_rate"] = jnp.asarray(0.01)
    """
    further = (static_args,) if isinstance(static_args, str) else tuple(static_args)
    # Only those that it has: optax raises for static names that are no arguments.
    known = {name for name in NOT_SCHEDULES if name in inspect.signature(make).parameters}
    static = static_arguments(make) | known | set(further)
    injected = optax.inject_hyperparams(make, static_args=static, hyperparam_dtype=hyperparam_dtype)

    @functools.wraps(make)
    def build(*args: Any, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
        """Keep the call, so that a partition can make the whole again with its axes."""
        return remembered(injected, args, kwargs)

    return build  # pyright: ignore[reportReturnType] - wraps keeps the signature
