"""Small Flax models for the tests that read them."""

import functools

from flax import nnx

import optax_muon as om
from optax_muon.matrices._paths import by_path

H = om.Leaf


def nnx_leaves(make, *args, **options):
    """Leaves by path of an abstract NNX model."""
    return by_path(om.leaves_from_flax(nnx.eval_shape(lambda: make(*args, rngs=nnx.Rngs(0))), **options))


class Holder(nnx.Module):
    """Holds what it is given, under the names it is given."""

    def __init__(self, rngs, **makers):
        for name, make in makers.items():
            setattr(self, name, make(rngs))


def holder(**makers):
    """Recipe for a `Holder`."""
    return functools.partial(Holder, **makers)


def linear(n, m, **options):
    """Recipe for a linear layer."""
    return lambda rngs: nnx.Linear(n, m, rngs=rngs, **options)


def stack(make, count, axis=0):
    """Layers stacked along any axis, by `nnx.vmap`."""
    return lambda rngs: nnx.vmap(make, out_axes=nnx.StateAxes({nnx.Param: axis}))(rngs.split(count))
