"""The track's records as tables and a figure."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from track.results import BASE, TUNED, Rows, error_of, mean_of, second_division, steps_of
from track.significance import Claim


def leaderboard(rows: Rows, claims: Sequence[Claim]) -> str:
    """Draw one preset's rows, fewest steps first, and those of the second division beside each other."""
    within = second_division(rows)
    tables = [_table(rows, BASE, claims)]
    if len(within) > 1:
        tables.append(
            "The second division, among itself:\n\n" + _table(within, [base + TUNED for base in BASE], claims)
        )
    return "\n".join(tables)


def _table(rows: Rows, bases: Sequence[str], claims: Sequence[Claim]) -> str:
    lines = [
        "| contestant | steps to target | of AdamW's | of Muon's | seconds | n | peak rate | schedule |",
        "|" + "---|" * 8,
    ]
    for name in sorted(rows, key=lambda name: (mean_of(rows[name]) or np.inf, name)):
        record, taken, tuned = rows[name], steps_of(rows[name]), rows[name]["tuned"]
        if mean_of(record) is None:
            reached = sum(x is not None for x in taken)
            shown, shares, seconds = f"{reached} of {len(taken)} reached it", ["-"] * len(bases), "-"
        else:
            shown, seconds = _steps(record), f"{np.mean([run['seconds'] for run in record['runs']]):.0f}"
            shares = [_share(name, base, rows, claims) for base in bases]
        cells = [name, shown, *shares, seconds, str(len(taken)), _rate(record), str(tuned["horizon"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def choice(rows: Rows, claims: Sequence[Claim]) -> str:
    """Sort those that reached the target into fewer steps than Muon's, as many, and more, each within its division."""
    tuned = second_division(rows)
    first = {name: record for name, record in rows.items() if name not in tuned}
    sorted_out = _sorted_out(first, "muon", claims), _sorted_out(tuned, "muon" + TUNED, claims)
    lines = ["| steps beside Muon's | rate and schedule tuned | every number tuned |", "|---|---|---|"]
    for kind in ("fewer", "a tie", "more"):
        lines.append(f"| {kind} | " + " | ".join(", ".join(names[kind]) or "-" for names in sorted_out) + " |")
    return "\n".join(lines) + "\n"


def _sorted_out(rows: Rows, muon: str, claims: Sequence[Claim]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {"fewer": [], "a tie": [], "more": []}
    reference = mean_of(rows[muon]) if muon in rows else None
    for name in sorted(rows, key=lambda name: (mean_of(rows[name]) or np.inf, name)):
        mean = mean_of(rows[name])
        if name != muon and mean is not None and reference is not None:
            kind = "a tie" if not _holds(name, muon, claims) else "fewer" if mean < reference else "more"
            shown = f"{mean / reference:.2f} ({_steps(rows[name])}, n = {len(steps_of(rows[name]))})"
            kinds[kind].append(f"`{name.removesuffix(TUNED)}` {shown}")
    return kinds


def picture(rows: Rows, title: str) -> Figure:
    """Draw every run, and means, the fastest at the top."""
    means = {name: mean for name, record in rows.items() if (mean := mean_of(record)) is not None}
    order = sorted(means, key=lambda name: -means[name])
    figure = Figure(figsize=(7, 1.2 + 0.24 * len(order)), layout="constrained")
    axes = figure.subplots()
    for at, name in enumerate(order):
        taken = np.asarray(steps_of(rows[name]), float)
        axes.plot(taken, np.full(len(taken), at), "o", ms=3, alpha=0.4, color="C0")
        axes.plot([taken.mean()], [at], "|", ms=12, color="black")
    axes.set_yticks(range(len(order)), order, fontsize=8)
    axes.set(title=title, xlabel="steps to the target", ylim=(-1, len(order)))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    return figure


def _rate(record: dict) -> str:
    """Give the tuned rate, and whether it is the end of those that were tried: another may be better."""
    tuned, tried = record["tuned"]["rate"], [trial["rate"] for trial in record["tuning"]]
    return f"{tuned:.3g}" + (" (edge)" if tuned in (min(tried), max(tried)) else "")


def _steps(record: dict) -> str:
    return f"{mean_of(record):.0f} ± {error_of(record):.1f}"


def _share(name: str, base: str, rows: Rows, claims: Sequence[Claim]) -> str:
    reference = mean_of(rows[base]) if base in rows else None
    if reference is None or name == base:
        return "-" if reference is None else "1"
    return f"{(mean_of(rows[name]) or np.nan) / reference:.2f}" + ("" if _holds(name, base, claims) else " (tie)")


def _holds(name: str, base: str, claims: Sequence[Claim]) -> bool:
    """Whether two contestants' steps differ significantly, either way."""
    return any(claim.holds and claim.share == 1.0 and {claim.faster, claim.slower} == {name, base} for claim in claims)
