"""The fuzz: a few batches of every kind in the ordinary run, many in the slow one, and proof that it sees faults."""

import json
import random

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.fuzz import cards, leaves, maps, names, norms, sharding
from tests.fuzz.kind import Tally, explore
from tests.fuzz.kinds import COMPILED, KINDS
from tests.fuzz.run import MOST_REJECTED, RECORD

every_kind = pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=kind.name, marks=[pytest.mark.slow] if kind in COMPILED else []) for kind in KINDS]
)


@every_kind
def test_a_few_cases(kind):
    tally = Tally()
    explore(kind, kind.quick, 0, tally)
    assert tally.count() > 0
    assert tally.share_rejected() <= MOST_REJECTED


@pytest.mark.slow
@every_kind
def test_many_cases_of_another_seed(kind):
    seed, tally = random.randrange(2**31), Tally()
    print(f"seed {seed}")
    explore(kind, 10 * kind.quick, seed, tally)
    assert tally.share_rejected() <= MOST_REJECTED


def test_the_record_has_its_cases_and_no_failure():
    record = json.loads(RECORD.read_text())
    kinds = record["kinds"]
    assert kinds.keys() == {kind.name for kind in KINDS}
    assert sum(kind["distinct cases"] for kind in kinds.values()) == record["distinct cases"] >= 100_000
    assert all(kind["distinct cases"] > 0 and kind["failure"] is None for kind in kinds.values())


def caught(kind):
    """Whether the kind fails within its quick batches."""
    with pytest.raises(AssertionError):
        explore(kind, kind.quick, 0, Tally(), shrink=False)


def test_a_map_that_is_a_little_wrong_is_caught(monkeypatch):
    right = maps.jitted
    monkeypatch.setattr(maps, "jitted", lambda name: lambda x: right(name)(x) * jnp.asarray(1.03, x.dtype))
    caught(maps.KIND)


def test_a_map_that_hides_a_nan_is_caught(monkeypatch):
    right = maps.jitted
    monkeypatch.setattr(maps, "jitted", lambda name: lambda x: jnp.nan_to_num(right(name)(x)))
    caught(maps.KIND)


def test_a_step_that_is_too_long_is_caught(monkeypatch):
    right = norms.measured
    wrong = lambda out: (*out[:2], out[2] * np.float32(1.001), *out[3:])  # noqa: E731
    monkeypatch.setattr(norms, "measured", lambda name: lambda x, y: wrong(right(name)(x, y)))
    caught(norms.KIND)


def test_pieces_in_the_wrong_order_are_caught(monkeypatch):
    right = leaves.as_matrices
    monkeypatch.setattr(leaves, "as_matrices", lambda x, leaf: tuple(s[::-1] for s in right(x, leaf)))
    caught(leaves.KIND)


def test_a_reading_that_depends_on_order_is_caught(monkeypatch):
    right = names.read

    def first_is_a_vector(params, rules):
        found = right(params, rules)
        return found if isinstance(found, str) else found | {next(iter(found)): str(list(params)[:1])}

    monkeypatch.setattr(names, "read", first_is_a_vector)
    caught(names.KIND)


def test_a_card_that_counts_its_calls_is_caught(monkeypatch):
    """An update that depends on how often Python runs it, as one with hidden state does."""
    right, calls = cards.optimizer, []

    def optimizer(card, leaves):
        calls.append(card)
        tx = right(om.registry["muon"], leaves)
        return optax.chain(tx, optax.scale(1.0 + 0.01 * len(calls)))

    monkeypatch.setattr(cards, "optimizer", optimizer)
    with pytest.raises(AssertionError, match="away"):
        cards.check(next(run for run in map(cards.run_of, range(99)) if run.way == "backwards"))


@pytest.mark.slow
def test_a_layout_that_changes_the_step_is_caught(monkeypatch):
    right = sharding.over_mesh
    monkeypatch.setattr(sharding, "over_mesh", lambda layout: {k: 1.1 * x for k, x in right(layout).items()})
    with pytest.raises(AssertionError, match="away"):
        sharding.check(sharding.layout_of(1))
