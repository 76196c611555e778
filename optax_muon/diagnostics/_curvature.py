"""Curvature of the loss within every hidden matrix, without forming a Hessian."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon.diagnostics._blocks import Blocks, only
from optax_muon.diagnostics._lanczos import Lanczos, TopEigenvalue
from optax_muon.linalg import SpectralMap, SVDPolar
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._by_name import Rules
from optax_muon.matrices._resolve import Leaves
from optax_muon.norms import Frobenius
from optax_muon.norms._norm import inner

Loss = Callable[..., Array]


class Measurement(NamedTuple):
    r"""What decides between Muon and gradient descent for the matrices of one parameter, arrays (matrices,).

    Attributes:
        step_curvature: :math:`J_t = \langle O, H O \rangle`, in loss per squared weight; may be negative.
        top_curvature: :math:`L_t = \|H\|_{op}`, in loss per squared weight.
        residual: bound on the distance of ``top_curvature`` to an eigenvalue of H.
        nuclear: :math:`\|G\|_*`, in loss per weight.
        frobenius: :math:`\|G\|_F`, in loss per weight.
    """

    step_curvature: Array
    top_curvature: Array
    residual: Array
    nuclear: Array
    frobenius: Array

    @property
    def nuclear_rank(self) -> Array:
        """Right-hand side of the paper's condition, ``nuclear^2 / frobenius^2``."""
        zero = self.frobenius == 0
        return jnp.where(zero, 0, jnp.square(self.nuclear / jnp.where(zero, 1, self.frobenius)))

    @property
    def curvature_ratio(self) -> Array:
        """Left-hand side of the paper's condition, J_t / L_t."""
        zero = self.top_curvature == 0
        return jnp.where(zero, 0, self.step_curvature / jnp.where(zero, 1, self.top_curvature))

    @property
    def condition(self) -> Array:
        """Tell where J_t / L_t <= nuclear^2 / frobenius^2: eq. (4) of arXiv 2505.23737 v1."""
        return self.curvature_ratio <= self.nuclear_rank

    @property
    def advantage(self) -> Array:
        """Gain of Muon's best step over gradient descent's ``1 / L_t``, to second order; infinite where J_t <= 0.

        NaN for a matrix without a gradient.
        """
        flat = self.step_curvature <= 0
        # Both methods' best decrease of the quadratic model: ||G||_*^2 / (2 J) over ||G||_F^2 / (2 L).
        ratio = self.nuclear_rank / jnp.where(flat, 1, self.curvature_ratio)
        return jnp.where(self.frobenius == 0, jnp.nan, jnp.where(flat, jnp.inf, ratio))

    @property
    def best_step(self) -> Array:
        """Step of Muon that decreases the quadratic model most, ``nuclear / J_t``; infinite where J_t <= 0."""
        flat = self.step_curvature <= 0
        return jnp.where(flat, jnp.inf, self.nuclear / jnp.where(flat, 1, self.step_curvature))


def measure(
    loss: Loss,
    params: PyTree,
    *batch: Any,
    orthogonalizer: SpectralMap | None = None,
    lanczos: Lanczos = Lanczos(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    rules: Rules = (),
) -> dict[str, Measurement]:
    r"""Measure both sides of the paper's condition for every hidden matrix.

    Use it to explain why Muon helps or not; `report` prints the same as a table.

    .. math:: J_t / L_t \le \|\nabla f\|_*^2 / \|\nabla f\|_F^2

    Where it holds, one step of Muon is predicted to gain more than one of gradient descent. H is the block of the
    Hessian that belongs to one matrix, all other parameters held. Pure; put it under `jax.jit` with the loss closed
    over. One program of constant size visits all matrices.

    Args:
        loss: ``loss(params, *batch)``, a scalar, twice differentiable in forward over reverse mode.
        params: parameters, all floating point; low precision is widened to float32.
        *batch: what the loss takes beside.
        orthogonalizer: makes Muon's direction O; None: the exact polar factor.
        lanczos: how the largest eigenvalue is searched: iterations, tolerance and seed.
        leaves: as for `for_matrices`.
        rules: as for `for_matrices`.

    Returns:
        Path -> `Measurement`.

    Cost: per matrix 1 HVP for J_t and 10 to ``lanczos.iterations`` for L_t; one gradient and one orthogonalisation for
    all. Peak memory: seven trees like the parameters and the residuals of one gradient.

    References:
        Shen et al., arXiv 2505.23737 v1, eq. (4) and theorem 4.8.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> quadratic = lambda params: jnp.sum(params["up"]["kernel"] ** 2) / 2
        >>> m = om.diagnostics.measure(quadratic, {"up": {"kernel": jnp.diag(jnp.array([3.0, 4.0]))}})["up/kernel"]
        >>> [round(float(x[0]), 3) for x in (m.step_curvature, m.top_curvature, m.nuclear, m.frobenius, m.advantage)]
        [2.0, 1.0, 7.0, 5.0, 0.98]
    """
    local = _Local(loss, params, batch, Blocks.of(params, leaves, rules))
    with jax.default_matmul_precision("highest"):
        # "highest": the user's loss names no precision, and TF32 or one bfloat16 pass leaves a second derivative two
        # digits.
        direction = local.direction(orthogonalizer)
        found = local.blocks.each(lambda number: local.top(lanczos, number, direction))
        nuclear = local.blocks.measure(inner, local.gradient, direction)
        frobenius = local.blocks.measure(Frobenius().value, local.gradient)
    return {
        path: Measurement(along, top.value, top.residual, nuclear[path], frobenius[path])
        for path, (top, along) in found.items()
    }


def curvature_along_step(
    loss: Loss,
    params: PyTree,
    *batch: Any,
    direction: PyTree | None = None,
    orthogonalizer: SpectralMap | None = None,
    leaves: Leaves | None = None,
    rules: Rules = (),
) -> dict[str, Array]:
    r"""Measure the curvature that Muon's own step meets, :math:`J_t = \langle O, H O \rangle`, of every hidden matrix.

    Use it to see how large a step of Muon may be: on a quadratic it descends below ``2 nuclear / J_t``.

    Args:
        loss: as for `measure`.
        params: as for `measure`.
        *batch: as for `measure`.
        direction: a tree like ``params``, e.g. an update, taken as it is; None: the orthogonalised gradient.
        orthogonalizer: makes the direction; None: the exact polar factor.
        leaves: as for `for_matrices`.
        rules: as for `for_matrices`.

    Returns:
        Path -> array (matrices,), in loss per squared weight for an orthogonal direction.

    Cost: 1 HVP per matrix.

    References:
        Shen et al., arXiv 2505.23737 v1, theorem 4.8.
    """
    local = _Local(loss, params, batch, Blocks.of(params, leaves, rules))
    with jax.default_matmul_precision("highest"):
        along = local.direction(orthogonalizer) if direction is None else _widened(direction)
        return local.blocks.each(lambda number: local.along(along, number))


def top_curvature(
    loss: Loss,
    params: PyTree,
    *batch: Any,
    lanczos: Lanczos = Lanczos(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    rules: Rules = (),
) -> dict[str, TopEigenvalue]:
    r"""Measure the largest curvature of the loss within every hidden matrix, :math:`L_t = \|H\|_{op}`.

    Use it beside gradient descent's stability bound, 2 / L_t. The Hessian is indefinite, so this is the eigenvalue of
    largest size, its sign dropped.

    Args:
        loss: as for `measure`.
        params: as for `measure`.
        *batch: as for `measure`.
        lanczos: how it is searched.
        leaves: as for `for_matrices`.
        rules: as for `for_matrices`.

    Returns:
        Path -> `TopEigenvalue` of arrays (matrices,), in loss per squared weight.

    Cost: 10 to ``lanczos.iterations`` HVPs per matrix.

    References:
        Shen et al., arXiv 2505.23737 v1, figure 2; how L_t was computed there is not said.
    """
    local = _Local(loss, params, batch, Blocks.of(params, leaves, rules))
    with jax.default_matmul_precision("highest"):
        return local.blocks.each(lambda number: local.top(lanczos, number)[0])


class _Local:
    """Gradient and Hessian of the loss at one point, cut into blocks by masks."""

    def __init__(self, loss: Loss, params: PyTree, batch: tuple[Any, ...], blocks: Blocks):
        """Widen the parameters and linearise the gradient at them."""
        self.blocks = blocks
        # A Hessian product in bfloat16 would have hardly a correct digit.
        self.params = _widened(params)
        self.numbers = blocks.numbers(self.params)
        with jax.default_matmul_precision("highest"):
            # Linearised once: each product then pays for the tangents alone.
            self.gradient, self.product = jax.linearize(jax.grad(lambda p: loss(p, *batch)), self.params)

    def direction(self, orthogonalizer: SpectralMap | None) -> PyTree:
        """Orthogonalise the gradient's hidden matrices; zero elsewhere."""
        return self.blocks.map((orthogonalizer or SVDPolar()).apply, self.gradient)

    def along(self, direction: PyTree, number: Array) -> Array:
        """Return ``<O, H O>`` of matrix ``number``, a scalar."""
        step = only(direction, self.numbers, number)
        return jnp.asarray(optax.tree.vdot(step, self.product(step)))

    def top(self, lanczos: Lanczos, number: Array, direction: PyTree | None = None) -> tuple[TopEigenvalue, Array]:
        """Search for the largest eigenvalue of matrix ``number``'s block; return ``<O, H O>`` of the probe too."""

        def mine(tree: PyTree) -> PyTree:
            return only(tree, self.numbers, number)

        probe = None if direction is None else mine(direction)
        # Masked before and after: that restricts H to the block without ever forming it.
        return lanczos.top(lambda v: mine(self.product(v)), mine(lanczos.start(self.params)), probe)


def _widened(tree: PyTree) -> PyTree:
    """Bring a tree to float32 or wider."""
    return jax.tree.map(lambda x: jnp.asarray(x).astype(accumulator_dtype(x.dtype)), tree)
