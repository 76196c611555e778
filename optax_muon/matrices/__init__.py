"""Which array is which matrix: roles, axes, partitions, and the state beside them."""

from optax_muon.matrices._by_name import UnknownLeafError as UnknownLeafError
from optax_muon.matrices._check_state import check_state as check_state
from optax_muon.matrices._describe import Description as Description
from optax_muon.matrices._describe import describe as describe
from optax_muon.matrices._doubt import AssumedLeafWarning as AssumedLeafWarning
from optax_muon.matrices._leaf import Leaf as Leaf
from optax_muon.matrices._leaf import Split as Split
from optax_muon.matrices._partition import dimension_numbers as dimension_numbers
from optax_muon.matrices._partition import for_matrices as for_matrices
from optax_muon.matrices._partition import label as label
from optax_muon.matrices._partition import labels as labels
from optax_muon.matrices._paths import by_path as by_path
from optax_muon.matrices._paths import map_by_path as map_by_path
from optax_muon.matrices._resolve import leaves as leaves
from optax_muon.matrices._state_shardings import state_shardings as state_shardings
from optax_muon.matrices.call._leaves_from_call import leaves_from_call as leaves_from_call
from optax_muon.matrices.flax._leaves_from_flax import leaves_from_flax as leaves_from_flax
from optax_muon.matrices.flax._roles import Attention as Attention
