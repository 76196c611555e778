"""Fuzz for as long as it takes: ``python -m tests.fuzz.run --cases 100000 --seed N`` counts distinct cases by kind.

Every kind gets its share; one that fails is named with the batch that shows it, and the others go on. ``--record``
writes counts, seeds and failures, and keeps what stands there of kinds that this run does not try.
"""

import argparse
import dataclasses
import json
import pathlib
import platform
import random
import sys
import time
import warnings

import tests.conftest  # noqa: F401  (eight devices, before JAX starts)

# isort: split
import jax

import optax_muon as om
from tests.fuzz.kind import Kind, Tally, explore
from tests.fuzz.kinds import KINDS

RECORD = pathlib.Path(__file__).parents[2] / "docs" / "records" / "fuzz" / "record.json"
BATCHES = 20  # between two looks at the tally
MOST_REJECTED = 0.05


@dataclasses.dataclass(frozen=True)
class Failure:
    """What broke, and where to look."""

    kind: str
    seed: int
    message: str


def pursue(kind: Kind, wanted: int, seed: int, tally: Tally, until: float) -> Failure | None:
    """Try one kind until its share is reached, or time is up, or it fails."""
    while tally.count(kind.name) < wanted and time.monotonic() < until:
        seed += 1
        before = tally.count(kind.name)
        try:
            explore(kind, BATCHES, seed, tally, shrink=False)
        except Exception as error:  # the other kinds go on
            return Failure(kind.name, seed, str(error)[:2000])
        if tally.count(kind.name) == before and tally.tried[kind.name] > 2:
            print(f"{kind.name}: no new cases", file=sys.stderr)
            break
    return None


def report(name: str, tally: Tally, failure: Failure | None, seed: int, seconds: float) -> dict:
    """Give what the record says of one kind."""
    return {
        "seed": seed,
        "seconds": round(seconds),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "distinct cases": tally.count(name),
        "batches": tally.tried[name],
        "rejected batches": tally.rejected[name],
        "failure": failure and dataclasses.asdict(failure),
    }


def record(path: pathlib.Path, found: dict[str, dict]) -> None:
    """Write what was found beside what the record says of other kinds; a case belongs to one kind, so counts add up."""
    kinds = (json.loads(path.read_text())["kinds"] if path.exists() else {}) | found
    kinds = {kind.name: kinds[kind.name] for kind in KINDS if kind.name in kinds}
    total = sum(kind["distinct cases"] for kind in kinds.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"distinct cases": total, "kinds": kinds}, indent=1) + "\n")


def main() -> int:
    """Run; 1 where a kind has failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--minutes", type=float, default=60.0, help="the most it takes")
    parser.add_argument("--only", nargs="*", choices=[kind.name for kind in KINDS])
    parser.add_argument("--record", type=pathlib.Path, nargs="?", const=RECORD)
    args = parser.parse_args()
    print(f"seed {args.seed}")
    warnings.simplefilter("ignore", om.AssumedLeafWarning)  # what a reading assumes is a part of thousands of cases
    kinds = [kind for kind in KINDS if args.only is None or kind.name in args.only]
    tally, found, start = Tally(), {}, time.monotonic()
    for kind in kinds:
        began = time.monotonic()
        remaining = sum(other.minutes for other in kinds[kinds.index(kind) :])
        until = began + (args.minutes * 60 - (began - start)) * kind.minutes / remaining
        failure = pursue(kind, round(args.cases * kind.share), args.seed, tally, until)
        found[kind.name] = report(kind.name, tally, failure, args.seed, time.monotonic() - began)
        print(f"{kind.name}: {tally.count(kind.name)} distinct cases", failure or "", flush=True)
        if args.record:
            record(args.record, found)
    print(json.dumps(found, indent=1))
    assert tally.share_rejected() <= MOST_REJECTED, "too many batches were rejected"
    return any(kind["failure"] for kind in found.values())


if __name__ == "__main__":
    sys.exit(main())
