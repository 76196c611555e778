"""Old public names work, and say the new ones."""

import inspect

import optax
import pytest

import optax_muon as om
from optax_muon._renamed import renamed_arguments


def test_an_old_name_gives_the_new_thing_with_a_warning():
    with pytest.warns(DeprecationWarning, match="optax_muon.OnTheSpot is now optax_muon.Local"):
        assert om.OnTheSpot is om.Local
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = om.nothing


def test_an_old_argument_is_passed_on_under_its_new_name():
    @renamed_arguments(epsilon="eps")
    def f(x, *, eps=1.0):
        return x + eps

    with pytest.warns(DeprecationWarning, match="f: epsilon is now eps"):
        assert f(1, epsilon=2) == 3
    assert list(inspect.signature(f).parameters) == ["x", "eps"]
    with pytest.raises(TypeError, match="epsilon is the old name of eps"):
        f(1, epsilon=2, eps=2)


TRANSFORMS = [
    lambda: om.transforms.in_diagonal_metric(optax.identity(), 0.9, epsilon=1.0),
    lambda: om.transforms.low_rank_momentum(0.9, 2, epsilon=1.0),
    lambda: om.transforms.scale_by_matrix_trust_ratio(0.5, 1.0, epsilon=1.0),
    lambda: om.transforms.equilibrate("output", epsilon=1.0),
    lambda: om.transforms.normalize_neurons(0.9, epsilon=1.0),
    lambda: om.transforms.two_rate_ema(now=0.9, later=0.9),
    lambda: om.transforms.low_rank_storm(momentum=0.9, rank=2),
    lambda: om.transforms.implicit_gradient_transport(optax.identity(), momentum=0.9),
    lambda: om.transforms.average_params(rate=0.9),
    lambda: om.linalg.SoftSign(epsilon=1.0),
    lambda: om.linalg.PowerStep(2, epsilon=1.0),
    lambda: om.linalg.LeadingSubspace(second_moment=0.9, epsilon=1.0),
    lambda: om.linalg.KroneckerWhitening(epsilon=1.0),
    lambda: om.linalg.OneSidedWhitening(epsilon=1.0),
    lambda: om.linalg.LowRankStorm(momentum=0.9),
]


@pytest.mark.parametrize("make", TRANSFORMS)
def test_old_arguments_of_transforms_and_maps_work(make):
    with pytest.warns(DeprecationWarning, match="is now") as warned:
        make()
    assert {warning.filename for warning in warned} == {__file__}


def test_symmetry_rules_are_called_ops():
    for module in (om, om.optimizers):
        with pytest.warns(DeprecationWarning, match="symmetry_rules is now .*symmetry_ops"):
            assert module.symmetry_rules is om.symmetry_ops
