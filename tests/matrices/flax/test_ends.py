"""First and last layers of a model that is not called: what no other layer makes or takes."""

import jax.numpy as jnp
from flax import nnx

import optax_muon as om
from optax_muon.matrices._paths import by_path


class Net(nnx.Module):
    """A convolution, two dense layers, two heads; none has a name that tells."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.again = nnx.Conv(8, 8, (3, 3), rngs=rngs)
        self.wide = nnx.Linear(8, 33, rngs=rngs)
        self.value = nnx.Linear(33, 1, rngs=rngs)
        self.last = nnx.Linear(33, 7, rngs=rngs)


def test_widths_tell_ends():
    leaves = by_path(om.leaves_from_flax(nnx.eval_shape(lambda: Net(nnx.Rngs(0)))))
    roles = {path.split("/")[0]: leaf.role for path, leaf in leaves.items() if path.endswith("kernel")}
    assert roles == {"first": "input", "again": "hidden", "wide": "hidden", "value": "head", "last": "head"}
    assert leaves["last/kernel"].assumed
    assert not leaves["first/kernel"].assumed, "an image has three channels"


def test_a_call_knows_better():
    class Called(Net):
        def __call__(self, x):
            x = self.again(self.first(x)).mean((1, 2))
            return self.last(nnx.relu(self.wide(x))), self.value(nnx.relu(self.wide(x)))

    leaves = by_path(om.leaves_from_flax(nnx.eval_shape(lambda: Called(nnx.Rngs(0))), jnp.zeros((2, 8, 8, 3))))
    assert (leaves["last/kernel"].role, leaves["last/kernel"].assumed) == ("head", False)


def test_several_projections_side_by_side_make_no_head():
    class Modulated(nnx.Module):
        def __init__(self, rngs):
            self.a, self.b = nnx.Linear(16, 96, rngs=rngs), nnx.Linear(16, 16, rngs=rngs)

    leaves = by_path(om.leaves_from_flax(nnx.eval_shape(lambda: Modulated(nnx.Rngs(0)))))
    assert leaves["a/kernel"].role == leaves["b/kernel"].role == "hidden"
