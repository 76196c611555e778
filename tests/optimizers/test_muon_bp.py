"""MuonBP against its reference on blocks, and what its steps on blocks send: nothing."""

import functools
import re

import jax
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from tests.benchmarks.census import KINDS as TALK
from tests.benchmarks.census import computations
from tests.references import harness
from tests.references.muon_bp import muon_bp as reference
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()
OPTIONS = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05, "period": 3, "block_rate": 0.5}
KINDS = pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
COLLECTIVE = re.compile(rf" ({'|'.join(TALK)})(-start)?\(")


def test_reference_without_a_mesh_in_x64():
    few = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}
    with jax.enable_x64(True):
        tx = om.muon_bp(orthogonalizer=SVD, leaves=harness.LEAVES, **OPTIONS)
        harness.assert_matches(tx, functools.partial(reference, orth=polar, **OPTIONS), cases=few)


def placed(kind, blocks, shape=(8, 16)):
    """An array cut along its outputs, its mesh, and the leaves that say so."""
    mesh = jax.make_mesh((blocks,), ("x",), axis_types=(kind,), devices=jax.devices()[:blocks])
    put = lambda x: jax.device_put(x, NamedSharding(mesh, P(None, "x")))  # noqa: E731
    return mesh, put, {"w": om.Leaf("hidden", 0, 1, spec=P(None, "x"))}


@pytest.mark.parametrize("kind", [pytest.param(AxisType.Auto, marks=pytest.mark.slow), AxisType.Explicit], ids=str)
def test_reference_on_blocks(kind):
    rng = np.random.default_rng(0)
    w, *gradients = rng.normal(size=(5, 8, 16)).astype(np.float32)
    expected = reference(w.T.astype(float), [g.T.astype(float) for g in gradients], polar, blocks=4, **OPTIONS).T
    mesh, put, leaves = placed(kind, 4)
    with jax.set_mesh(mesh):
        tx = om.muon_bp(orthogonalizer=SVD, leaves=leaves, **OPTIONS)
        params = {"w": put(w)}
        state = tx.init(params)

        @jax.jit
        def step(params, state, g):
            updates, state = tx.update({"w": g}, state, params)
            return optax.apply_updates(params, updates), state

        for g in gradients:
            params, state = step(params, state, put(g))
    np.testing.assert_allclose(params["w"], expected, atol=1e-4)
    whole = reference(w.T.astype(float), [g.T.astype(float) for g in gradients], polar, blocks=1, **OPTIONS).T
    assert np.abs(whole - expected).max() > 1e-2


def branches(text):
    """Collectives of each of the two branches of a program's one conditional, and those outside of it."""
    found, _ = computations(text)
    calls = {name: set(re.findall(r"%([\w.\-]+)", " ".join(lines))) & found.keys() for name, lines in found.items()}
    talking = {name: [line for line in lines if COLLECTIVE.search(line)] for name, lines in found.items()}
    (line,) = [line for lines in found.values() for line in lines if " conditional(" in line]
    roots = [name for name in re.findall(r"%([\w.\-]+)", line.split(" conditional(")[1]) if name in found]
    assert len(roots) == 2

    def below(name):
        """Everything that a computation calls, itself too."""
        seen, todo = set(), [name]
        while todo:
            at = todo.pop()
            todo += calls[at] - seen
            seen.add(at)
        return seen

    inside = [below(name) for name in roots]
    rest = set(found) - inside[0] - inside[1]
    return [[x for name in names for x in talking[name]] for names in (*inside, rest)]


@KINDS
def test_a_step_on_blocks_holds_no_collective_and_a_full_one_does(kind):
    mesh, put, leaves = placed(kind, 8)
    with jax.set_mesh(mesh):
        tx = om.muon_bp(0.1, orthogonalizer=om.linalg.NewtonSchulz(om.linalg.JORDAN_2024.first(1)), leaves=leaves)
        params = {"w": put(np.ones((8, 16), np.float32))}
        state = jax.jit(tx.init)(params)
        *turns, outside = branches(jax.jit(tx.update).lower(params, state, params).compile().as_text())
        assert outside == []
        assert [bool(found) for found in turns] == [False, True]  # between, and at its turn
        report = om.placement_report(params, placement=om.OnShards(), leaves=leaves)
        assert report.nbytes == 0
        assert report.rows[0].shape == (8, 2)
        assert om.placement_report(params, leaves=leaves).nbytes > 0


def test_blocks_together_are_no_longer_than_the_root_of_their_number():
    rng = np.random.default_rng(0)
    part = rng.normal(size=(2, 4))  # whose rows span a plane
    for blocks, exact in ((rng.normal(size=(4, 2, 4)), False), (np.stack([part] * 4), True)):
        size = np.linalg.norm(np.concatenate([polar(x) for x in blocks]), 2)
        assert size <= 2 + 1e-12
        assert (abs(size - 2) < 1e-12) == exact


def test_refusals():
    with pytest.raises(ValueError, match="muon_bp: momentum"):
        om.muon_bp(0.02, momentum=1.0)
    for make in (om.muon, om.normuon, om.scion, om.muon_bp):
        with pytest.raises(ValueError, match=f"{make.__name__}: its rule is one of whole matrices"):
            make(0.02, placement=om.OnShards())
