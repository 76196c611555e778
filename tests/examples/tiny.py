"""A run without a model: what surrounds training is tested in milliseconds."""

import argparse
import csv
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gpt import data, options
from gpt.run import run

STEPS = 12
FINAL = re.compile(r"final step=(\d+) train_loss=([\d.]+) val_loss=([\d.]+) seconds=[\d.]+")


def corpus(text="shakespeare"):
    ids = jnp.asarray(np.arange(400) % 7, jnp.uint8)
    return data.Corpus(ids[:300], ids[300:], tuple("\nabcdef"), 1.0, f"of {text}")


class Trainer:
    """A counter and a vector that shrinks; ``trouble`` is called with the number of every step before it.

    Numbers are random, so that no compression makes the file of the arrays small.
    """

    def __init__(self, trouble=lambda trainer, step: None):
        self.count, self.trouble = 0, trouble
        self.weights = jax.random.normal(jax.random.key(7), (4000,))
        self.loss = None

    def step(self, *_):
        self.loss = jnp.abs(self.weights).mean()
        self.weights = self.weights * 0.9
        self.count += 1
        self.trouble(self, self.count)
        return self.loss, jnp.array(-jnp.inf)

    def evaluate(self):
        return jnp.abs(self.weights).mean()

    def state(self):
        return {"weights": self.weights, "count": jnp.array(self.count)}

    def load(self, state):
        self.weights, self.count = state["weights"], int(state["count"])

    def sample(self, key, prompt, length):
        return jnp.zeros(length, jnp.int32)


def arguments(runs, *given):
    made = options.parser("a run without a model", pathlib.Path(runs))
    chosen = {"steps": STEPS, "eval-every": 4, "context": 16, "batch": 2}
    return options.parse(made, [*(part for k, v in chosen.items() for part in (f"--{k}", str(v))), *map(str, given)])


def train(out, *given, trouble=lambda trainer, step: None, runs="runs"):
    """Run in the folder ``out``, or without one where it is None."""
    given = (*given, "--out", out) if out is not None else given
    args: argparse.Namespace = arguments(runs, *given)
    run(args, lambda args, corpus, config: Trainer(trouble))


def stopped(code, capsys, out, *options, **more):
    """The last line of a run that stops with a code."""
    with pytest.raises(SystemExit) as stop:
        train(out, *options, **more)
    assert stop.value.code == code
    return capsys.readouterr().err.strip().splitlines()[-1]


def final(text):
    match = FINAL.fullmatch(text.strip().splitlines()[-1])
    assert match, text
    return match.groups()


def column(out, name):
    with (out / "metrics.csv").open(newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def steps(out):
    return sorted(int(path.name) for path in (out / "checkpoints").iterdir() if path.name.isdecimal())
