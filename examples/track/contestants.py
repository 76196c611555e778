"""Who may run: AdamW, Optax's own Muon, every card of the registry, and compositions of this library's parts."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from gpt.layers import Projections
from gpt.recipe import ADAMW_RATE, defaults, kernels, of_card, projections

import optax_muon as om
from track.compositions import CAUTIOUS, soap_muon

WEIGHT_DECAY = 0.1
DECAYS: dict[str, Any] = {"b1": 0.9, "b2": 0.95}  # of AdamW
# Two hundred steps are few: averages forget soon, and the AdamW beside goes four times as fast.
SHORT: dict[str, Any] = {"others_rate": 4.0, "others_b1": 0.8}

# Where tuning begins for cards whose own rate is more than a factor of eight, which is as far as fifteen runs go, from
# the best of the first comparison (docs/records/registry and registry_newer).
BEGIN = {
    "adam_mini": 0.0096,
    "adamuon": 0.0192,
    "ef_muon": 0.0012,
    "kl_shampoo": 0.048,
    "lion_muon": 0.032,
    "muadam": 0.000625,
    "muon_bp": 0.016,
    "muon_max": 0.128,
    "muoneq": 0.032,
    "muown": 0.0384,
    "shampoo": 0.032,
}


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A way to build an optimizer for the whole model.

    Attributes:
        build: (rate, other_rate, leaves, options) -> the optimizer; both rates are schedules.
        rate: peak learning rate about which tuning begins.
        options: of the optimizer, in the first division.
        tunable: numbers that the second division tunes, with the first's values; those of ``options`` win.
        extra_args: what an update takes beside gradients and parameters.
        projections: how the model's residual branches start, for rules that turn weights.
    """

    build: Callable[..., optax.GradientTransformation]
    rate: float
    options: Mapping[str, Any]
    extra_args: tuple[str, ...] = ()
    projections: Projections = "zeros"
    tunable: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, float]:
        """What the second division tunes, with the values of the first."""
        both = {**self.tunable, **self.options}
        return {name: value for name, value in both.items() if isinstance(value, float) and value > 0}


# Of the AdamW beside a contestant that takes matrices alone: its rate over the preset's, and its decays.
OTHERS = {"others_rate": 1.0, "others_b1": DECAYS["b1"], "others_b2": DECAYS["b2"]}


def _beside(other_rate: Any, options: Mapping[str, Any]) -> tuple[optax.Schedule, float, float, dict[str, Any]]:
    """Give rate and decays of the AdamW for what is no matrix, and the options that are left for the matrices."""
    factor, b1, b2 = (options.get(name, value) for name, value in OTHERS.items())
    rest = {name: value for name, value in options.items() if name not in OTHERS}
    return lambda count: factor * other_rate(count), b1, b2, rest


def _others(other_rate: Any, options: Mapping[str, Any]) -> tuple[optax.GradientTransformation, dict[str, Any]]:
    """Build the AdamW for what is no matrix, and give the options that are left for the matrices."""
    rate, b1, b2, rest = _beside(other_rate, options)
    return optax.adamw(rate, b1=b1, b2=b2, weight_decay=0.0), rest


def _adamw(rate: Any, other_rate: Any, leaves: Any, options: Mapping[str, Any]) -> optax.GradientTransformation:
    del other_rate
    return optax.adamw(rate, **options, mask=functools.partial(kernels, leaves=leaves))


def _contrib(
    roles: tuple[str, ...], rate: Any, other_rate: Any, leaves: Any, options: Mapping[str, Any]
) -> optax.GradientTransformation:
    """Build `optax.contrib.muon` for the matrices of these roles; the rest takes its AdamW."""

    def axes_of(leaf: om.Leaf) -> Any:
        if leaf.role not in roles:
            return None
        return optax.contrib.MuonDimensionNumbers(leaf.reduction, leaf.output)

    def dimension_numbers(params: Any) -> Any:
        # `om.state_shardings` asks with a placeholder for the parameters to see which states are shaped like them.
        if jax.tree_util.treedef_is_leaf(jax.tree.structure(params)):
            return optax.contrib.MuonDimensionNumbers()
        return jax.tree.map(axes_of, om.leaves(params) if leaves is None else leaves)

    rate_beside, b1, b2, rest = _beside(other_rate, options)
    adam = {"adam_learning_rate": rate_beside, "adam_b1": b1, "adam_b2": b2}
    return optax.contrib.muon(rate, **adam, **rest, muon_weight_dimension_numbers=dimension_numbers)


def _card(
    card: om.Card, rate: Any, other_rate: Any, leaves: Any, options: Mapping[str, Any]
) -> optax.GradientTransformation:
    others, rest = _others(other_rate, options)
    return of_card(card, rate, others, leaves, rest)


def _tunable(card: om.Card) -> dict[str, float]:
    """Every number of a card's signature but guards of divisions, and AdamW's where it has one beside it."""
    signature = inspect.signature(card.make).parameters.items()
    found = {name: p.default for name, p in signature if isinstance(p.default, float) and name != "eps"}
    return {**found, **({} if card.kind in ("roles", "any") else OTHERS)}


def _contestants() -> dict[str, Contestant]:
    decay, adam = {"weight_decay": WEIGHT_DECAY}, {"b1": DECAYS["b1"], "b2": DECAYS["b2"], "weight_decay": WEIGHT_DECAY}
    peer = {"beta": 0.95, **OTHERS}
    every = functools.partial(_contrib, ("hidden", "embedding", "head"))
    found = {
        "adamw": Contestant(_adamw, ADAMW_RATE, adam),
        # As documented: every array of two axes is orthogonalised.
        "optax.contrib.muon": Contestant(every, 0.02, decay, tunable=peer),
        "optax.contrib.muon-hidden": Contestant(functools.partial(_contrib, ("hidden",)), 0.02, decay, tunable=peer),
    }
    for name, card in om.registry.items():
        # Second moments of inputs cannot be seen inside the scanned blocks of the track's model.
        if card.kind != "wrapper" and "input_moments" not in card.extra_args:
            options = defaults(card, WEIGHT_DECAY)
            build = functools.partial(_card, card)
            extra = card.extra_args, projections(name), _tunable(card)
            found[name] = Contestant(build, BEGIN.get(name, card.learning_rate), options, *extra)
    for name in ("muon", "normuon", "scion"):
        composed = found[name]
        cautious = {**composed.options, "weight_decay": CAUTIOUS}
        found[f"{name}-cautious"] = dataclasses.replace(composed, options=cautious)
    return {**found, **_compositions(found)}


def _compositions(found: Mapping[str, Contestant]) -> dict[str, Contestant]:
    """Compositions for short runs: what AdamW beside and a shorter momentum give to Muon, and SOAP before it."""

    def build(rate: Any, other_rate: Any, leaves: Any, options: Mapping[str, Any]) -> optax.GradientTransformation:
        others, rest = _others(other_rate, options)
        return om.for_matrices(functools.partial(soap_muon, rate, **rest), otherwise=others, leaves=leaves)

    def short(name: str) -> Contestant:
        return dataclasses.replace(found[name], options={**found[name].options, **SHORT, "momentum": 0.85})

    composed = {**SHORT, "momentum": 0.85, "second_moment_decay": 0.9}
    return {
        **{f"{name}-short": short(name) for name in ("muon", "muon_plus")},
        "soap-muon-short": Contestant(build, found["muon"].rate, composed, tunable=OTHERS),
    }


CONTESTANTS = _contestants()
