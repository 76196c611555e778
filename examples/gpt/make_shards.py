"""Cut a text into shards of tokens, which the GPT examples read with --data.

python examples/gpt/make_shards.py --text python --out data/python
python examples/gpt/make_shards.py --files 'books/*.txt' --vocabulary 50304 --out data/books
python examples/gpt/make_shards.py --files 'books/*.txt' --tokenizer tokenizer.json --out data/books
"""

import argparse
import glob
import json
import os
import pathlib
import platform
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np
from gpt import texts
from gpt.data import HELD_OUT
from gpt.shards import INDEX
from gpt.tokens import train_byte_pairs

PIECE = 1 << 20  # characters that are encoded at a time


def main(argv: list[str] | None = None) -> None:
    args = _options(argv)
    text = texts.TEXTS[args.text]() if args.files is None else _join(args.files)
    args.out.mkdir(parents=True, exist_ok=True)
    # Without an index the folder is no folder of shards, should this be killed.
    (args.out / INDEX).unlink(missing_ok=True)
    cut = int(len(text) * (1 - args.held_out))
    parts = {"train": text[:cut], "valid": text[cut:]}
    tokenizer = _tokenizer(args, parts["train"])
    tokenizer.save(str(args.out / "tokenizer.json"))
    index: dict[str, Any] = {"vocabulary": tokenizer.get_vocab_size(), "digest": texts.digest(text)}
    total = 0
    for part, piece in parts.items():
        ids = _encode(tokenizer, piece)
        total += len(ids)
        index[part] = _write(args.out, part, ids, args.shard_tokens)
    index |= {"characters_per_token": len(text) / max(1, total), "python": platform.python_version()}
    _replace(args.out / INDEX, lambda file: file.write(json.dumps(index, indent=1).encode() + b"\n"))
    print(
        f"{len(text):,} characters, {total:,} tokens of {index['vocabulary']:,}, text {index['digest']} -> {args.out}"
    )


def _options(argv: list[str] | None) -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = made.add_mutually_exclusive_group()
    source.add_argument("--text", choices=sorted(texts.TEXTS), default="shakespeare", help="(%(default)s)")
    source.add_argument("--files", metavar="GLOB", help="UTF-8 files of your own, joined in order of their names")
    source = made.add_mutually_exclusive_group()
    source.add_argument("--tokenizer", type=pathlib.Path, help="a tokenizer.json of the package tokenizers")
    source.add_argument("--vocabulary", type=int, default=4096, help="of a byte-pair encoding made here (%(default)s)")
    made.add_argument("--shard-tokens", type=int, default=1 << 24, help="most tokens in a file (%(default)s)")
    made.add_argument("--held-out", type=float, default=HELD_OUT, help="fraction at the end, to validate (%(default)s)")
    made.add_argument("--out", type=pathlib.Path, required=True, help="folder of the shards")
    args = made.parse_args(argv)
    if not 0 < args.held_out < 1:
        made.error(f"argument --held-out: must be between 0 and 1, not {args.held_out}")
    if args.vocabulary < 256:
        made.error(f"argument --vocabulary: must be at least 256, the bytes, not {args.vocabulary}")
    if args.shard_tokens < 2:
        made.error(f"argument --shard-tokens: must be at least 2, not {args.shard_tokens}")
    if args.tokenizer is not None and not args.tokenizer.is_file():
        made.error(f"argument --tokenizer: {args.tokenizer} is no file")
    if args.files is not None and not glob.glob(args.files, recursive=True):
        made.error(f"argument --files: nothing matches {args.files}")
    return args


def _join(pattern: str) -> str:
    return "\n".join(pathlib.Path(path).read_text("utf8") for path in sorted(glob.glob(pattern, recursive=True)))


def _tokenizer(args: argparse.Namespace, text: str) -> Any:
    import tokenizers

    if args.tokenizer is None:
        return train_byte_pairs(text, args.vocabulary)
    return tokenizers.Tokenizer.from_file(str(args.tokenizer))


def _encode(tokenizer: Any, text: str) -> np.ndarray:
    """Encode by pieces that end at the ends of lines, which keeps memory small and uses all cores."""
    lines, pieces, size = text.splitlines(keepends=True), [[]], 0
    for line in lines:
        if size > PIECE:
            pieces.append([])
            size = 0
        pieces[-1].append(line)
        size += len(line)
    encoded = tokenizer.encode_batch_fast(["".join(piece) for piece in pieces], add_special_tokens=False)
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
    return np.concatenate([np.asarray(piece.ids, dtype) for piece in encoded])


def _write(out: pathlib.Path, part: str, ids: np.ndarray, most: int) -> list[dict[str, Any]]:
    for old in out.glob(f"{part}-*.npy"):
        old.unlink()
    shards = []
    for number, start in enumerate(range(0, len(ids), most)):
        piece = ids[start : start + most]
        shards.append({"file": f"{part}-{number:05d}.npy", "tokens": len(piece)})
        _replace(out / shards[-1]["file"], lambda file, piece=piece: np.save(file, piece))
    return shards


def _replace(path: pathlib.Path, write: Any) -> None:
    """Write a file completely or not at all."""
    torn = path.with_suffix(".torn")
    with torn.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    torn.replace(path)


if __name__ == "__main__":
    main()
