"""Old public names work, and say the new ones."""

import inspect

import pytest

import optax_muon as om
from optax_muon._renamed import renamed_arguments


def test_an_old_name_gives_the_new_thing_with_a_warning():
    with pytest.warns(DeprecationWarning, match="optax_muon.OnTheSpot is now optax_muon.Local"):
        assert om.OnTheSpot is om.Local
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = om.nothing


@pytest.mark.parametrize(("module", "old", "new"), [("transforms", "every", "alternate")])
def test_old_names_of_modules(module, old, new):
    owner = getattr(om, module)
    with pytest.warns(DeprecationWarning, match=f"optax_muon.{module}.{old} is now optax_muon.{module}.{new}"):
        assert getattr(owner, old) is getattr(owner, new)


def test_an_old_argument_is_passed_on_under_its_new_name():
    @renamed_arguments(epsilon="eps")
    def f(x, *, eps=1.0):
        return x + eps

    with pytest.warns(DeprecationWarning, match="f: epsilon is now eps"):
        assert f(1, epsilon=2) == 3
    assert list(inspect.signature(f).parameters) == ["x", "eps"]
    with pytest.raises(TypeError, match="epsilon is the old name of eps"):
        f(1, epsilon=2, eps=2)
