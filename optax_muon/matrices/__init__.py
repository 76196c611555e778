"""From a tree of parameters to stacks of matrices: roles, axes, partitions and shardings."""

from optax_muon.matrices._describe import Description as Description
from optax_muon.matrices._describe import describe as describe
from optax_muon.matrices._flax import leaves_from_flax as leaves_from_flax
from optax_muon.matrices._flax_roles import Attention as Attention
from optax_muon.matrices._infer import UnknownLeafError as UnknownLeafError
from optax_muon.matrices._infer import leaves as leaves
from optax_muon.matrices._labels import dimension_numbers as dimension_numbers
from optax_muon.matrices._labels import for_matrices as for_matrices
from optax_muon.matrices._labels import label as label
from optax_muon.matrices._labels import labels as labels
from optax_muon.matrices._leaf import Leaf as Leaf
from optax_muon.matrices._leaf import Split as Split
from optax_muon.matrices._mesh import OverMesh as OverMesh
from optax_muon.matrices._paths import by_path as by_path
from optax_muon.matrices._paths import map_by_path as map_by_path
from optax_muon.matrices._placement import OnTheSpot as OnTheSpot
from optax_muon.matrices._placement import Placement as Placement
from optax_muon.matrices._report import PlacementReport as PlacementReport
from optax_muon.matrices._report import placement_report as placement_report
from optax_muon.matrices._shardings import state_shardings as state_shardings
from optax_muon.matrices._state import check_state as check_state
