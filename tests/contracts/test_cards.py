"""What a card says of its function is so: the stages, the arguments, their old names, the decay in its three forms."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon._docstring import Shared, completed
from optax_muon._options import SHARED
from tests.contracts.chains import chain
from tests.contracts.problem import extra_args

CARDS = [pytest.param(card, id=name) for name, card in om.registry.items()]
SAMPLE = {"muon", "soap", "dion"}
DECAYING = [c for c in CARDS if "weight_decay" in inspect.signature(c.values[0].make).parameters]
RENAMED = [
    pytest.param(card, old, new, id=f"{name} {old}")
    for name, card in om.registry.items()
    for old, new in card.renamed.items()
]
PARAMS = {"up": {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)}}
LEAVES = {"up": {"kernel": om.Leaf("hidden", 0, 1)}}


@pytest.mark.parametrize("card", CARDS)
def test_the_chain_is_what_is_built(card):
    assert chain(card) == card.chain


@pytest.mark.parametrize("card", CARDS)
def test_every_argument_is_described_and_none_in_vain(card):
    described = re.findall(r"^    (\w+): ", card.make.__doc__.split("\nArgs:\n")[1].split("\n\n")[0], re.MULTILINE)
    assert described == list(inspect.signature(card.make).parameters)
    assert all(p.kind != p.VAR_KEYWORD for p in inspect.signature(card.make).parameters.values())
    assert card.state.sentence() in " ".join(card.make.__doc__.split())
    assert card.paper in " ".join(card.make.__doc__.split())
    assert "None: on the spot" not in card.make.__doc__


def test_what_a_docstring_says_of_its_own_wins_and_gaps_are_errors():
    def f(x, y, z=0):
        """Do.

        Args:
            y: its own
                words.

        References:
            Nobody, 1999.
        """

    shared = {"x": Shared("shared."), "y": Shared("never.", "Always."), "z": Shared("zed.", "Ever.")}
    prose = completed(f, shared, "State: none.")
    assert prose.text == (
        "Do.\n\nArgs:\n    x: shared.\n    y: its own words. Always.\n    z: zed. Ever.\n\nState: none.\n\n"
        "References:\n    Nobody, 1999.\n"
    )
    assert (prose.paper, prose.deviations) == ("Nobody, 1999", "none")
    with pytest.raises(TypeError, match=r"f: Args describes \[\] in vain, and not \['z'\]"):
        completed(f, {"x": Shared("shared.")}, "")
    f.__doc__ = f.__doc__.replace("y:", "w:")
    with pytest.raises(TypeError, match=r"\['w'\] in vain"):
        completed(f, shared, "")


def test_shared_sentences_are_used():
    for name in SHARED:
        cards = [card for card in om.registry.values() if name in inspect.signature(card.make).parameters]
        assert sum(SHARED[name].usually in " ".join(card.make.__doc__.split()) for card in cards) > 1, name


@pytest.mark.filterwarnings("default::DeprecationWarning")
@pytest.mark.parametrize(("card", "old", "new"), RENAMED)
def test_old_arguments_work_with_a_warning(card, old, new):
    parameters, several = inspect.signature(card.make).parameters, isinstance(new, tuple)
    value = tuple(parameters[name].default for name in new) if several else parameters[new].default
    first, said = (new[0], " and ".join(new)) if several else (new, new)
    with pytest.warns(DeprecationWarning, match=f"{card.name}: {old} is now {said}") as warned:
        card.make(0.1, **card.defaults, **{old: value})
    assert warned[0].filename == __file__
    assert old not in inspect.signature(card.make).parameters
    with pytest.raises(TypeError, match=f"{old} is the old name of {said}"):
        card.make(0.1, **card.defaults, **{old: value, first: value})


@jax.disable_jit()  # nothing here is worth a compilation
def three_steps(card, weight_decay):
    """Parameters after three steps, with the decay given in some form."""
    make = card.make(0.1, leaves=LEAVES, weight_decay=weight_decay, **card.defaults)
    tx, params = optax.with_extra_args_support(make), PARAMS
    state = tx.init(params)
    for seed in range(3):
        grads = {"up": {"kernel": jnp.asarray(np.random.default_rng(seed).normal(size=(3, 4)), jnp.float32)}}
        more = extra_args(card, grads)
        updates, state = tx.update(grads, state, params, value=1.0, **more)
        params = optax.apply_updates(params, updates)
    return np.asarray(params["up"]["kernel"])


@pytest.mark.parametrize("card", DECAYING)
def test_a_decay_of_one_s_own_stands_in_the_chain(card):
    called = []

    def init(params):
        called.append("init")
        return optax.EmptyState()

    def update(updates, state, params=None):
        called.append("no parameters" if params is None else "update")
        return updates, state

    own = optax.GradientTransformation(init, update)
    tx = optax.with_extra_args_support(card.make(0.1, leaves=LEAVES, weight_decay=own, **card.defaults))
    state = jax.eval_shape(tx.init, PARAMS)
    jax.eval_shape(lambda g, s, p: tx.update(g, s, p, value=1.0, **extra_args(card, g)), PARAMS, state, PARAMS)
    assert called == ["init", "update"]


@pytest.mark.parametrize(
    "card", [pytest.param(*c.values, id=c.id, marks=() if c.id in SAMPLE else pytest.mark.slow) for c in DECAYING]
)
def test_weight_decay_is_a_number_a_schedule_or_a_transformation(card):
    number = three_steps(card, 3.0)
    np.testing.assert_array_equal(three_steps(card, optax.constant_schedule(3.0)), number)
    np.testing.assert_array_equal(three_steps(card, optax.add_decayed_weights(3.0)), number)
    late = three_steps(card, lambda count: jnp.where(count < 2, 0.0, 3.0))
    early = three_steps(card, lambda count: jnp.where(count < 2, 3.0, 0.0))
    distinct = {x.tobytes() for x in (late, early, three_steps(card, 0.0))}
    assert len(distinct) == 3, "the schedule goes by the step"
