"""The table of Flax's module types: which parameter is a kernel, of which shape, and how its axes read."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from optax_muon.matrices._by_name import Finding
from optax_muon.matrices.flax import _layer_axes as axes
from optax_muon.matrices.flax._layer_axes import Site

Shape = tuple[int | None, ...]


class LayerKind(NamedTuple):
    """How to read the kernels of one module type; its other parameters are told by name and rank.

    Attributes:
        names: parameters that are kernels.
        read: makes the finding.
        shape: shape of such a parameter, or of the bias, before layers were stacked, None where a length is not known;
            NNX only.
    """

    names: tuple[str, ...]
    read: Callable[[Site], Finding]
    shape: Callable[[Any, str], Shape] | None = None


class Cell(NamedTuple):
    """What a module tells of the layers it holds.

    Attributes:
        reason: for the table of `describe`.
        gates: how many matrices stand side by side along the output of each kernel.
        attention: whether its layers are projections of an attention.
    """

    reason: str
    gates: int = 1
    attention: bool = False


@functools.cache
def nnx_kinds() -> Mapping[type, LayerKind]:
    """Layers of `flax.nnx`: module type -> how its kernels read, with the shapes the module was made for."""
    from flax import nnx

    def flat(module: Any, name: str) -> Shape:
        """Shape of a dense layer's kernel or bias."""
        return (module.out_features,) if name == "bias" else (module.in_features, module.out_features)

    def general(module: Any, name: str) -> Shape:
        """Shape of a general dense layer's kernel or bias."""
        inputs = () if name == "bias" else module.in_features
        return (*module.batch_axis.values(), *inputs, *module.out_features)

    def einsum(module: Any, name: str) -> Shape:
        """Shape of an einsum layer's kernel or bias."""
        return tuple(module.bias_shape if name == "bias" else module.kernel_shape)

    def window(module: Any, name: str) -> Shape:
        """Shape of a convolution's kernel or bias."""
        return (module.out_features,) if name == "bias" else tuple(module.kernel_shape)

    def table(module: Any, name: str) -> Shape:
        """Shape of an embedding's table."""
        return module.num_embeddings, module.features

    def lora(module: Any, name: str) -> Shape:
        """Shape of an adapter's factor; the module does not keep its rank."""
        return (module.in_features, None) if name == "lora_a" else (None, module.out_features)

    return {
        nnx.Linear: LayerKind(("kernel",), axes.dense, flat),
        nnx.LinearGeneral: LayerKind(("kernel",), axes.general, general),
        nnx.Einsum: LayerKind(("kernel",), axes.einsum, einsum),
        nnx.Conv: LayerKind(("kernel",), axes.convolution, window),
        nnx.ConvTranspose: LayerKind(("kernel",), axes.transposed_convolution, window),
        nnx.Embed: LayerKind(("embedding",), axes.embedding, table),
        nnx.LoRA: LayerKind(("lora_a", "lora_b"), axes.low_rank_adapter, lora),
    }


@functools.cache
def linen_kinds() -> Mapping[type, LayerKind]:
    """Layers of `flax.linen`; the trace tells their shapes."""
    import flax.linen as nn
    from flax.linen.recurrent import DenseParams

    return {
        nn.Dense: LayerKind(("kernel",), axes.dense),
        # Where `OptimizedLSTMCell` keeps the kernels of its gates; it is not exported.
        DenseParams: LayerKind(("kernel",), axes.dense),
        nn.DenseGeneral: LayerKind(("kernel",), axes.general),
        nn.Einsum: LayerKind(("kernel",), axes.einsum),
        nn.Conv: LayerKind(("kernel",), axes.convolution),
        nn.ConvLocal: LayerKind(("kernel",), axes.local_convolution),
        nn.ConvTranspose: LayerKind(("kernel",), axes.transposed_convolution),
        nn.Embed: LayerKind(("embedding",), axes.embedding),
    }


@functools.cache
def cells() -> Mapping[type, Cell]:
    """Modules of both that tell what the layers inside them are for."""
    import flax.linen as nn
    from flax import nnx

    # These hold one layer per gate; the others below fuse their gates along the output.
    single = [nnx.LSTMCell, nnx.SimpleCell, nn.LSTMCell, nn.OptimizedLSTMCell, nn.SimpleCell, nn.GRUCell, nn.MGUCell]
    return {
        **{cell: Cell("recurrent cell") for cell in single},
        nnx.OptimizedLSTMCell: Cell("four gates of a recurrent cell", 4),
        nnx.GRUCell: Cell("three gates of a recurrent cell", 3),
        nn.ConvLSTMCell: Cell("four gates of a recurrent cell", 4),
        nnx.MultiHeadAttention: Cell("attention", attention=True),
        nn.MultiHeadDotProductAttention: Cell("attention", attention=True),
    }


def lookup(table: Mapping[type, Any], module: Any) -> Any:
    """Return the entry of a module's type, or of the nearest type that it inherits from; None if there is none."""
    return next((table[base] for base in type(module).__mro__ if base in table), None)
