"""Every matrix product names its precision or takes operands that were rounded on purpose.

A float32 product without one is a bfloat16 pass on a TPU and TF32 on a GPU, which no test on a CPU would show.
"""

import ast
import pathlib

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

import optax_muon as om
from tests.contracts.collection import MAPS, NORMS, OPS, unlisted
from tests.contracts.problem import build, tree
from tests.contracts.test_matrix_ops import call

ROOT = pathlib.Path(om.__file__).parent
PRODUCTS = {"dot", "dot_general", "einsum", "inner", "matmul", "matvec", "multi_dot", "outer", "tensordot", "vdot"}
SHAPE = (2, 4, 6)
DTYPES = (jnp.float32, jnp.bfloat16)


def products(jaxpr):
    """Every product of a program, those of its loops and branches included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if isinstance(inner, ClosedJaxpr | Jaxpr):
                    yield from products(inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner)


def careless(jaxpr):
    """The products that leave it to the platform how exactly they are computed."""
    for equation in products(jaxpr):
        named = {p for p in _each(equation.params["precision"]) if p not in (None, jax.lax.Precision.DEFAULT)}
        widest = max(x.aval.dtype.itemsize for x in equation.invars)
        # 16-bit operands lose nothing in one pass, but their sums must be wider.
        rounded = widest <= 2 and equation.outvars[0].aval.dtype.itemsize > 2
        if not named and not rounded:
            yield equation


def _each(precision):
    return precision if isinstance(precision, tuple) else (precision,)


def assert_careful(f, *args):
    jaxpr = jax.make_jaxpr(f)(*args).jaxpr
    assert not list(careless(jaxpr)), [str(equation) for equation in careless(jaxpr)]
    return len(list(products(jaxpr)))


@pytest.mark.thinned(3)  # operations and norms, from which updates are made, are all looked at below
@pytest.mark.parametrize("card", [pytest.param(card, id=name) for name, card in om.registry.items()])
def test_every_product_of_an_update_names_its_precision(card):
    tx, params = build(card), jax.eval_shape(lambda: tree(0))
    state = jax.eval_shape(tx.init, params)
    found = assert_careful(lambda g, s, p: tx.update(g, s, p, value=jnp.float32(1.0)), params, state, params)
    assert found or card.name not in ("muon", "scion", "soap"), "the walk found no product at all"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", MAPS, ids=lambda op: type(op).__name__)
def test_every_product_of_a_map_names_its_precision(op, dtype):
    assert_careful(op.apply, jax.ShapeDtypeStruct(SHAPE, dtype))


@pytest.mark.parametrize("op", OPS, ids=lambda op: type(op).__name__)
def test_every_product_of_an_operation_names_its_precision(op):
    call(op, trace=assert_careful, **{name: jax.ShapeDtypeStruct(SHAPE, jnp.float32) for name in op.takes})


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: type(norm).__name__)
def test_every_product_of_a_norm_names_its_precision(norm):
    x = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    assert_careful(lambda x: (norm.value(x), norm.dual(x), norm.lmo(x)), x)


def test_every_map_and_norm_is_here():
    missing = unlisted(om.linalg.SpectralMap, MAPS) + unlisted(om.norms.Norm, NORMS)
    assert not missing, f"add one of {missing} to tests/contracts/collection.py"


def test_a_careless_product_is_seen_wherever_it_stands():
    x, half = jnp.ones((4, 4)), jnp.ones((4, 4), jnp.bfloat16)

    def within(body):
        return lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: jax.lax.map(body, x[None])[0], lambda x: x, x)

    for wrong in (lambda x: x @ x, within(lambda x: jnp.matmul(x, x)), lambda x: jnp.matmul(x, x, precision="default")):
        with pytest.raises(AssertionError, match="dot_general"):
            assert_careful(wrong, x)
    with pytest.raises(AssertionError, match="dot_general"):
        assert_careful(lambda x: x @ x, half)
    assert assert_careful(om.linalg.FLOAT32.gram, x) == 1
    assert assert_careful(om.linalg.BFLOAT16.gram, half) == 1


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_product_is_written_without_a_precision(path):
    """What no card, map or norm runs: every call of a product in the text."""
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)), f"line {node.lineno}: @"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in PRODUCTS:
            owner = ast.unparse(node.func.value)
            if owner in ("jnp", "lax", "jax.lax", "jnp.linalg"):
                assert "precision" in [x.arg for x in node.keywords], f"line {node.lineno}: {ast.unparse(node.func)}"
