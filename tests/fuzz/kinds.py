"""All kinds of the fuzz, the cheap ones first."""

from tests.fuzz import leaves, maps, names, norms

KINDS = (maps.KIND, norms.KIND, names.KIND, leaves.KIND)
