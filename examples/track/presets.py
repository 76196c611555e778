"""What a run of a preset is: model, text, batch, the loss to reach, and how far it may go."""

import dataclasses
import pathlib
from typing import Any, Literal

from gpt import data, presets, shards
from gpt.layers import GPTConfig

Text = data.Corpus | shards.Folder


@dataclasses.dataclass(frozen=True)
class Preset:
    """Everything that contestants share.

    Attributes:
        name: of the preset and the text, which is also the folder of its records.
        context: tokens that the model reads.
        layers: blocks of the model.
        width: of the model.
        heads: of every attention.
        batch: sequences in a step.
        target: validation loss to reach, in nats per token.
        limit: the longest schedule, in steps; a run that misses the target is censored there.
        every: steps between two validations.
        windows: sequences that are validated on.
        dtype: of the computation.
        other_rate: learning rate of AdamW beside the contestants that take matrices alone.
        tokens: characters, or pairs of bytes.
        remat: compute the blocks again in the backward pass.
        devices: to run on; None: all there are, as far as they divide the batch.
    """

    name: str
    context: int
    layers: int
    width: int
    heads: int
    batch: int
    target: float
    limit: int
    every: int = 10
    windows: int = 64
    dtype: Literal["float32", "bfloat16"] = "float32"
    other_rate: float = 3e-3
    tokens: Literal["characters", "bpe"] = "characters"
    remat: bool = False
    devices: int | None = None

    def config(self, vocabulary: int) -> GPTConfig:
        """Sizes of the model."""
        return GPTConfig(vocabulary, self.context, self.layers, self.width, self.heads)

    def settings(self) -> dict:
        """What a record says of it: two records compare where these are equal."""
        return dataclasses.asdict(self)


_SMALL: dict[str, Any] = {"context": 64, "layers": 3, "width": 96, "heads": 3, "batch": 16, "limit": 600, "devices": 1}
_LARGE: dict[str, Any] = {key: presets.GPT2[key] for key in ("context", "dtype", "tokens", "remat")}
PRESETS = {
    "two-cores": {
        "shakespeare": Preset("two-cores-shakespeare", target=1.90, **_SMALL),
        "python": Preset("two-cores-python", target=1.90, **_SMALL),
    },
    # About 30 million parameters, minutes on one large GPU.
    "one-gpu": {
        text: Preset(f"one-gpu-{text}", layers=8, width=512, heads=8, batch=64, target=target, limit=4000, every=25,
                     windows=256, **_LARGE)
        for text, target in (("shakespeare", 3.9), ("python", 2.2))
    },
    # GPT-2 small (Radford et al. 2019) on shards of a text of one's own; the target is modded-nanogpt's for FineWeb.
    "pod": {
        "data": Preset("pod-data", layers=12, width=768, heads=12, batch=512, target=3.28, limit=6000, every=125,
                       windows=2048, **_LARGE)
    },
}  # fmt: skip
QUICK = Preset("quick", 16, 1, 16, 2, 4, target=4.1, limit=40, windows=8, devices=1)


def text_of(preset: Preset, text: str, folder: pathlib.Path | None) -> Text:
    """Read a text that packages ship, or open a folder of shards.

    Raises:
        SystemExit: for a preset on one's own shards, if there are none.
    """
    if text == "data":
        if folder is None:
            raise SystemExit(
                f"preset {preset.name}: --data FOLDER names the token shards; examples/gpt/make_shards.py makes them"
            )
        try:
            return shards.Folder.open(folder)
        except shards.ShardError as error:
            raise SystemExit(f"argument --data: {error}") from None
    return data.characters(text) if preset.tokens == "characters" else data.byte_pairs(text)
