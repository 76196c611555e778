"""Half of a symmetric product, mirrored: kernels for TPUs and GPUs.

A triangle of tiles is computed, and each is written twice, the second time transposed. On a TPU tiles are large, and
those on the diagonal are triangles of panels.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType
from jaxtyping import Array, Float

# Below it a full product is faster: published kernels for GPUs lose there by a factor of up to three.
SHORTEST = 1024

# A TPU's tile and panel. A tile of sums stays on the chip while the longer side is read through, once where there is
# one tile alone; a panel is as wide as its unit of products.
TILE, PANEL = 1024, 128
# Three times that tile, and two slabs of each operand, with room for one panel's sums.
VMEM_BYTES = 48 << 20

# A GPU's tile, and how far a step reads along the longer side.
GPU_TILE, GPU_DEPTH = 128, 64


def halves(x: Array) -> bool:
    """Tell whether a symmetric product of matrices like ``x`` may be halved: here, and by the kernels."""
    mesh = jax.sharding.get_abstract_mesh()
    # A partitioner cannot divide a kernel.
    divided = any(
        mesh.shape[n] > 1 and t != AxisType.Manual for n, t in zip(mesh.axis_names, mesh.axis_types, strict=True)
    )
    m, n = x.shape[-2:]
    # Padding is put at more than a product, and tiles below half of the largest read too much.
    fits = m % PANEL == n % PANEL == 0 and 2 * _part(m, TILE, PANEL) >= TILE
    return fits and min(m, n) >= SHORTEST and x.dtype in (jnp.bfloat16, jnp.float16, jnp.float32) and not divided


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def symmetric_product(
    a: Float[Array, "*batch m n"], b: Float[Array, "*batch m n"], precision: lax.Precision
) -> Float[Array, "*batch m m"]:
    """Multiply ``a b^T``, which is known to be symmetric; the result is in float32."""
    return lax.platform_dependent(
        a,
        b,
        tpu=lambda a, b: on_tpu(a, b, precision),
        cuda=lambda a, b: on_gpu(a, b, precision),
        default=lambda a, b: _whole(a, b, precision),
    )


@symmetric_product.defjvp
def _(precision: lax.Precision, primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """A kernel has no derivative, but a product has."""
    (a, b), (da, db) = primals, tangents
    return symmetric_product(a, b, precision), _whole(da, b, precision) + _whole(a, db, precision)


def on_tpu(
    a: Array, b: Array, precision: lax.Precision, *, tile: int = TILE, panel: int = PANEL, interpret: bool = False
) -> Array:
    """Compute a triangle of tiles of ``a b^T`` on a TPU."""
    from jax.experimental import pallas as pl  # nobody who does not ask for the kernel loads its compiler
    from jax.experimental.pallas import tpu as pltpu

    (*batch, m, n), depth = a.shape, max(panel, tile // a.dtype.itemsize)
    tile, depth = _part(m, tile, panel), _part(n, depth, panel)
    a, b = (_padded(x, tile, depth) for x in (a, b))
    rows, cols = _triangle(a.shape[-2] // tile)
    slabs = a.shape[-1] // depth
    # One step more writes a tile to its other place.
    steps = slabs + (len(rows) > 1)

    def slab(of: int) -> pl.BlockSpec:
        """Say what a step reads: the last one nothing new."""
        return pl.BlockSpec((None, tile, depth), lambda i, t, k, *at: (i, at[of][t], jnp.minimum(k, slabs - 1)))

    def place(i, t, k, rows, cols):
        """Say where a step's tile is written."""
        there = k < slabs
        return i, jnp.where(there, rows[t], cols[t]), jnp.where(there, cols[t], rows[t])

    y = pl.pallas_call(
        _tile_kernel(tile, panel, slabs, precision),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(a.shape[0], len(rows), steps),
            in_specs=[slab(0), slab(1)],
            out_specs=pl.BlockSpec((None, tile, tile), place),
            scratch_shapes=[pltpu.VMEM((tile, tile), jnp.float32)],
        ),
        out_shape=_result(a),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary"), vmem_limit_bytes=VMEM_BYTES
        ),
        interpret=interpret,
    )(rows, cols, a, b)
    return y[:, :m, :m].reshape(*batch, m, m)


def _tile_kernel(tile: int, panel: int, slabs: int, precision: lax.Precision) -> Callable[..., None]:
    """Make the program of one tile and one of ``slabs`` slabs of the longer side."""
    from jax.experimental import pallas as pl

    def kernel(rows, cols, a, b, out, sums):
        """Add the slab's products; after the last one write the tile, and then its transpose."""
        t, k = pl.program_id(1), pl.program_id(2)
        on_diagonal = rows[t] == cols[t]

        @pl.when(k == 0)
        def _():
            sums[...] = jnp.zeros(sums.shape, sums.dtype)

        def add(triangle: bool) -> None:
            for low in range(0, tile, panel):
                end = low + panel if triangle else tile
                sums[low : low + panel, :end] += _whole(a[low : low + panel, :], b[:end, :], precision)

        pl.when((k < slabs) & jnp.logical_not(on_diagonal))(lambda: add(triangle=False))
        pl.when((k < slabs) & on_diagonal)(lambda: add(triangle=True))

        @pl.when(k == slabs - 1)
        def _():
            out[...] = sums[...]

        # On the diagonal the panels above it; elsewhere the whole tile, in its other place.
        def mirror(triangle: bool) -> None:
            for low in range(0, tile, panel):
                start, end = low + panel if triangle else 0, low + panel
                if start < tile:
                    out[low:end, start:] = sums[start:, low:end].T

        pl.when((k == slabs - 1) & on_diagonal)(lambda: mirror(triangle=True))
        pl.when((k == slabs) & jnp.logical_not(on_diagonal))(lambda: mirror(triangle=False))

    return kernel


def on_gpu(
    a: Array,
    b: Array,
    precision: lax.Precision,
    *,
    tile: int = GPU_TILE,
    depth: int = GPU_DEPTH,
    interpret: bool = False,
) -> Array:
    """Compute a triangle of tiles of ``a b^T`` on a GPU; each is written twice."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    *batch, m, n = a.shape
    # Registers hold half as many float32 numbers.
    depth = depth * 2 // a.dtype.itemsize
    a, b = (_padded(x, tile, depth) for x in (a, b))
    rows, cols = _triangle(a.shape[-2] // tile)

    def kernel(rows, cols, a, b, out):
        """Compute one tile."""
        t = pl.program_id(1)
        row, col = pl.ds(rows[t] * tile, tile), pl.ds(cols[t] * tile, tile)

        def add(k, sums):
            part = pl.ds(k * depth, depth)
            return sums + _whole(a[row, part], b[col, part], precision)

        sums = lax.fori_loop(0, a.shape[-1] // depth, add, jnp.zeros((tile, tile), jnp.float32))
        out[row, col] = sums
        out[col, row] = sums.T

    matrix, table = (
        pl.BlockSpec((None, *a.shape[1:]), lambda i, t: (i, 0, 0)),
        pl.BlockSpec(rows.shape, lambda i, t: (0,)),
    )
    y = pl.pallas_call(
        kernel,
        grid=(a.shape[0], len(rows)),
        in_specs=[table, table, matrix, matrix],
        out_specs=pl.BlockSpec((None, *_result(a).shape[1:]), lambda i, t: (i, 0, 0)),
        out_shape=_result(a),
        compiler_params=triton.CompilerParams(num_warps=8, num_stages=3),
        interpret=interpret,
    )(rows, cols, a, b)
    return y[:, :m, :m].reshape(*batch, m, m)


def _whole(a: Array, b: Array, precision: lax.Precision) -> Array:
    """Multiply ``a b^T``."""
    return jnp.matmul(a, b.mT, precision=precision, preferred_element_type=jnp.float32)


def _part(length: int, most: int, unit: int) -> int:
    """Give the part in which a length is taken, in units: least padding first, then the largest."""
    return max(range(unit, most + 1, unit), key=lambda part: (-(-length % part), part))


def _padded(x: Array, tile: int, depth: int) -> Array:
    """Bring (*batch, m, n) to (count, rows, columns) of whole tiles, with zeros."""
    x = x.reshape(-1, *x.shape[-2:])
    extra = [(0, 0), *((0, -side % part) for side, part in zip(x.shape[1:], (tile, depth), strict=True))]
    return jnp.pad(x, extra) if any(end for _, end in extra) else x


def _triangle(tiles: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the tiles on and below the diagonal."""
    rows, cols = np.tril_indices(tiles)
    return rows.astype(np.int32), cols.astype(np.int32)


def _result(a: Array) -> jax.ShapeDtypeStruct:
    """Describe the products of a stack."""
    shape = (a.shape[0], a.shape[1], a.shape[1])
    # Inside a map with checks it differs along the axes along which the operands do.
    return jax.ShapeDtypeStruct(shape, jnp.float32, manual_axis_type=jax.typeof(a).manual_axis_type)
