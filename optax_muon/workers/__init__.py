"""Optax transformations that talk to other workers over a named axis; without an axis there is one worker."""

from optax_muon.workers._average import average_over as average_over
from optax_muon.workers._exchange import ExchangeState as ExchangeState
from optax_muon.workers._exchange import exchange as exchange
from optax_muon.workers._graph import Circulant as Circulant
from optax_muon.workers._graph import Complete as Complete
from optax_muon.workers._graph import Exponential as Exponential
from optax_muon.workers._graph import Graph as Graph
from optax_muon.workers._graph import Ring as Ring
from optax_muon.workers._local_steps import LocalStepsState as LocalStepsState
from optax_muon.workers._local_steps import OverlappedState as OverlappedState
from optax_muon.workers._local_steps import local_steps as local_steps
from optax_muon.workers._local_steps import merge_overlapped as merge_overlapped
from optax_muon.workers._marina import MarinaState as MarinaState
from optax_muon.workers._marina import marina as marina
from optax_muon.workers._mixing import SudaState as SudaState
from optax_muon.workers._mixing import mix_params as mix_params
from optax_muon.workers._mixing import suda as suda
from optax_muon.workers._tracking import TrackingState as TrackingState
from optax_muon.workers._tracking import track as track
from optax_muon.workers._vote import VoteState as VoteState
from optax_muon.workers._vote import vote as vote
from optax_muon.workers._worker_axis import AxisName as AxisName
from optax_muon.workers._worker_axis import own_matrices as own_matrices
from optax_muon.workers._worker_axis import own_state as own_state
