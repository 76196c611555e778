"""Named optimizers, one file per paper."""

from optax_muon.optimizers._amuse import amuse as amuse
from optax_muon.optimizers._ef_muon import ef_muon as ef_muon
from optax_muon.optimizers._muon import muon as muon
from optax_muon.optimizers._muon_mvr import muon_mvr as muon_mvr
