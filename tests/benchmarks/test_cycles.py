"""The reader of the TPU compiler's estimates, on a text made for it and on a program whose cost is known."""

import importlib.util

import pytest

from tests.benchmarks import cycles

KERNEL = 'backend_config={"window_config":{"estimated_cycles":"%d"}}'
TEXT = f"""HloModule jit_f, is_scheduled=true

%fused (p: f32[8,128]) -> f32[8,128] {{
  %p = f32[8,128]{{1,0:T(8,128)}} parameter(0)
  ROOT %m = f32[8,128]{{1,0:T(8,128)}} multiply(%p, %p), metadata={{op_name="jit(f)/optimizer/mul"}}
}}

%body (arg: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {{
  %arg = (s32[]{{:T(128)}}, f32[8,128]{{1,0:T(8,128)}}) parameter(0)
  %i = s32[]{{:T(128)}} get-tuple-element(%arg), index=0
  %x = f32[8,128]{{1,0:T(8,128)}} get-tuple-element(%arg), index=1
  %gathered = f32[8,256]{{1,0:T(8,128)}} all-gather(%x), dimensions={{1}}
  %y = f32[8,128]{{1,0:T(8,128)}} fusion(%x), kind=kLoop, calls=%fused, {KERNEL % 100}
  ROOT %t = (s32[]{{:T(128)}}, f32[8,128]{{1,0:T(8,128)}}) tuple(%i, %y)
}}

%condition (arg.1: (s32[], f32[8,128])) -> pred[] {{
  %arg.1 = (s32[]{{:T(128)}}, f32[8,128]{{1,0:T(8,128)}}) parameter(0)
  %n = s32[]{{:T(128)}} constant(5)
  %j = s32[]{{:T(128)}} get-tuple-element(%arg.1), index=0
  ROOT %less = pred[]{{:T(512)}} compare(%j, %n), direction=LT
}}

%cheap (p.1: f32[8,128]) -> f32[8,128] {{
  %p.1 = f32[8,128]{{1,0:T(8,128)}} parameter(0)
  ROOT %k = f32[8,128]{{1,0:T(8,128)}} copy(%p.1), metadata={{op_name="jit(f)/model/copy"}}, {KERNEL % 10}
}}

%dear (p.2: f32[8,128]) -> f32[8,128] {{
  %p.2 = f32[8,128]{{1,0:T(8,128)}} parameter(0)
  ROOT %k.1 = f32[8,128]{{1,0:T(8,128)}} copy(%p.2), metadata={{op_name="jit(f)/jvp(model)/copy"}}, {KERNEL % 7000}
}}

ENTRY %main (a: f32[8,128], b: s32[]) -> f32[8,128] {{
  %a = f32[8,128]{{1,0:T(8,128)}} parameter(0)
  %b = s32[]{{:T(128)}} parameter(1)
  %room = f32[8,128]{{1,0:T(8,128)}} custom-call(), custom_call_target="AllocateBuffer"
  %start = (f32[8,128]{{1,0:T(8,128)S(1)}}, f32[8,128]{{1,0:T(8,128)}}, u32[]{{:S(2)}}) copy-start(%a)
  %there = f32[8,128]{{1,0:T(8,128)S(1)}} copy-done(%start)
  %zero = s32[]{{:T(128)}} constant(0)
  %tuple = (s32[]{{:T(128)}}, f32[8,128]{{1,0:T(8,128)}}) tuple(%zero, %there)
  %while = (s32[]{{:T(128)}}, f32[8,128]{{1,0:T(8,128)}}) while(%tuple), condition=%condition, body=%body
  %z = f32[8,128]{{1,0:T(8,128)}} get-tuple-element(%while), index=1
  ROOT %c = f32[8,128]{{1,0:T(8,128)}} conditional(%b, %z, %z), branch_computations={{%cheap, %dear}}
}}
"""


def test_loops_count_by_their_trips_and_a_conditional_as_its_dearest_branch():
    cost = cycles.read(TEXT)
    assert cost.cycles == 5 * 100 + 7000
    assert cost.unknown == ()
    assert cost.kernels[0][0] == 7000


def test_cycles_by_scope_take_the_name_of_a_kernel_or_of_what_is_in_it():
    assert cycles.read(TEXT, ("optimizer", "model")).scopes == {"optimizer": 500, "model": 7000, "": 0}
    # A part of a name is no scope.
    assert cycles.read(TEXT, ("optim",)).scopes == {"optim": 0, "": 7500}


def test_bytes_of_collectives_and_of_asynchronous_copies():
    cost = cycles.read(TEXT)
    assert cost.collectives == {"all-gather": 5}
    assert cost.nbytes == 5 * 4 * 8 * 256
    assert cost.copied == 4 * 8 * 128


def test_a_kernel_without_estimate_has_no_figure():
    cost = cycles.read(TEXT.replace('"AllocateBuffer"', '"tpu_custom_call"'))
    assert cost.cycles is None
    assert cost.unknown == ("custom-call room",)


def test_kernels_without_estimate_have_bytes_by_scope_and_an_update_in_place_has_its_own():
    update = '%c.1 = f32[64,128]{1,0} dynamic-update-slice(%big, %there, %b), metadata={op_name="jit(f)/optimizer/dus"}'
    cost = cycles.read(TEXT.replace("%zero = ", f"{update}\n  %zero = "), ["optimizer"])
    assert cost.unknown == ("dynamic-update-slice c.1",)
    assert cost.silent == {"optimizer": 2 * 4 * 8 * 128, "": 0}


@pytest.mark.parametrize(("kernel", "beside"), [(KERNEL % 30, 4 * 16 * 128), ("", 0)])
def test_a_collective_overlaps_where_a_kernel_stands_between_its_ends(kernel, beside):
    lines = (
        "%g = (f32[8,128]{1,0}, f32[16,128]{1,0}) all-gather-start(%a), dimensions={0}",
        f"%k.9 = f32[] copy(%a), {kernel}",
        "%gd = f32[16,128]{1,0} all-gather-done(%g)",
    )
    cost = cycles.read(TEXT.replace("%zero = ", "\n  ".join((*lines, "%zero = "))))
    assert cost.nbytes == 5 * 4 * 8 * 256 + 4 * 16 * 128
    assert cost.beside == beside


@pytest.mark.parametrize("change", [("direction=LT", "direction=NE"), ("constant(5)", "parameter(1)")])
def test_a_loop_of_unknown_trips_has_no_figure(change):
    cost = cycles.read(TEXT.replace(*change))
    assert cost.cycles is None
    assert cost.unknown == ("trips of while",)


def test_trips_that_the_compiler_says_come_first():
    said = TEXT.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"3"}}')
    assert cycles.read(said).cycles == 3 * 100 + 7000


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs jax[tpu]")
def test_a_product_is_near_the_chip_s_rate():
    from tests.benchmarks import ahead  # it finds the TPU's compiler

    jax, jnp = ahead.jax, ahead.jnp

    def loop(x):
        def product(_, y):
            return jnp.matmul(y, y, preferred_element_type=jnp.float32).astype(y.dtype)

        return jax.lax.fori_loop(0, 7, product, x)

    x = ahead.on_one_chip(jax.ShapeDtypeStruct((1024, 1024), jnp.bfloat16))
    cost = cycles.read(jax.jit(loop).lower(x).compile().as_text())
    assert cost.cycles is not None
    # Four units of 128 x 128 multiply and add in a cycle; the product is the dearest of the loop's kernels.
    assert 1 <= cost.kernels[0][0] / (7 * 1024**3 / (4 * 128**2)) <= 1.4
