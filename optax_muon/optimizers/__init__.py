"""Named optimizers, one file per paper."""

from optax_muon.optimizers._muon import muon as muon
