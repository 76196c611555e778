"""All that the leaves of a tree depend on."""

from collections.abc import Mapping

from optax_muon.matrices._by_name import Finding, Rules, Shape, UnknownLeafError
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import matches
from optax_muon.matrices._shard_view import bound_axes
from optax_muon.matrices.names._read import Reading


class Question:
    """All that the leaves of a tree depend on: the key under which answers are kept.

    Shapes and names count by value, leaves and problems by identity: nobody changes a `Leaf`, comparing thousands
    costs more than it saves, and two that are equal may still differ in ``why``. Arrays and tracers are not kept.
    """

    def __init__(
        self, shapes: Mapping[str, Shape], rules: Rules, given: Mapping[str, Leaf] | None, problems: Mapping[str, str],
        names: Reading,
    ):  # fmt: skip
        """Keep what is asked, and compose the key once."""
        self.shapes, self.problems, self.names = shapes, problems, names
        self.rules = tuple((pattern, target) for pattern, target in rules)
        self.given = None if given is None else {path: given[path] for path in shapes if path in given}
        self.examples = tuple(given or ())[:3]
        # A message names a few of the given paths, whether the tree has them or not.
        told = () if self.given is None else tuple(self.given)
        # The question holds these objects, so no other can take over an id while an answer is kept.
        by_identity = (*(target for _, target in self.rules), *(self.given or {}).values(), problems, names)
        self._key = (
            *(tuple(shapes), tuple(shapes.values())),
            *(tuple(pattern for pattern, _ in self.rules), given is None, told, self.examples),
            tuple(x if isinstance(x, str) else id(x) for x in by_identity),
            # Inside a map a shape is that of a shard, and what it is a part of depends on the axes.
            tuple(bound_axes().items()),
        )

    def by_name(self, path: str) -> Finding:
        """Find a leaf by names, shapes and neighbours."""
        found = self.names[path]
        if isinstance(found, UnknownLeafError):
            raise found
        return found

    def has_matrices(self, pattern: str) -> bool:
        """Tell whether a glob matches an array of two axes."""
        return any(len(shape) > 1 and matches(path, pattern) for path, shape in self.shapes.items())

    def __hash__(self) -> int:
        """Hash the key."""
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        """Tell whether the answer is the same."""
        return isinstance(other, Question) and self._key == other._key
