"""Where and in which order the matrices of a tree are computed; knows nothing of roles or Flax."""

from optax_muon.placement._local import Local as Local
from optax_muon.placement._on_shards import OnShards as OnShards
from optax_muon.placement._over_mesh import OverMesh as OverMesh
from optax_muon.placement._placement import Done as Done
from optax_muon.placement._placement import Placement as Placement
from optax_muon.placement._placement import Work as Work
from optax_muon.placement._report import PlacementReport as PlacementReport
