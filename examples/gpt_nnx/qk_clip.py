"""Draw the largest attention logits of a GPT without query and key norms, left alone and under QK-clip.

python examples/gpt_nnx/qk_clip.py --out docs/records/qk_clip
"""

import argparse
import csv
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import matplotlib as mpl
import numpy as np
from gpt_nnx import train

mpl.use("Agg")
import matplotlib.pyplot as plt

SETTINGS = {"layers": 2, "width": 64, "context": 64, "batch": 16, "steps": 200, "eval-every": 200, "learning-rate": 0.1}
OPTIONS = [part for name, value in SETTINGS.items() for part in (f"--{name}", str(value))]


def measure(threshold: str, folder: pathlib.Path) -> dict:
    """Train, or read a run that is there: the largest logit of every step and the last validation loss."""
    if not (folder / "loss.png").exists():
        train.main([*OPTIONS, "--qk-clip", threshold, "--out", str(folder)])
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {"max_logit": [float(row["max_logit"]) for row in rows], "val_loss": float(rows[-1]["val_loss"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threshold", default="10", metavar="TAU", help="(%(default)s)")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/qk_clip"), help="(%(default)s)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    runs = {tau: measure(tau, pathlib.Path("runs/qk_clip") / tau) for tau in ("inf", args.threshold)}
    (args.out / "record.json").write_text(json.dumps({"settings": SETTINGS, "threshold": runs}) + "\n")
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for tau, run in runs.items():
        label = "left alone" if tau == "inf" else f"--qk-clip {tau}"
        steps = np.arange(1, len(run["max_logit"]) + 1)
        axes.plot(steps, run["max_logit"], label=f"{label}: validation loss {run['val_loss']:.3f}")
    axes.axhline(float(args.threshold), color="grey", lw=0.8, ls="--")
    axes.set(xlabel="step", ylabel="largest attention logit", title="Muon without query and key norms", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(args.out / "logits.png", dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
