"""All kinds of the fuzz, the cheap ones first."""

from tests.fuzz import cards, leaves, maps, names, norms, sharding

KINDS = (maps.KIND, norms.KIND, names.KIND, leaves.KIND, cards.KIND, sharding.KIND, sharding.INSIDE)
COMPILED = (cards.KIND, sharding.KIND, sharding.INSIDE)  # a program of its own for every case or two: the slow run's
