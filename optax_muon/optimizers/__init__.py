"""Named optimizers, one file per paper."""

from optax_muon.optimizers._amuse import amuse as amuse
from optax_muon.optimizers._ef_muon import ef_muon as ef_muon
from optax_muon.optimizers._lion_muon import lion_muon as lion_muon
from optax_muon.optimizers._mimuon import mimuon as mimuon
from optax_muon.optimizers._muon import muon as muon
from optax_muon.optimizers._muon_mvr import muon_mvr as muon_mvr
from optax_muon.optimizers._muon_sign import muon_sign as muon_sign
from optax_muon.optimizers._muon_usign import muon_usign as muon_usign
from optax_muon.optimizers._muoneq import muoneq as muoneq
from optax_muon.optimizers._normuon import normuon as normuon
from optax_muon.optimizers._orscale import orscale as orscale
from optax_muon.optimizers._orscale import orscale_lm as orscale_lm
from optax_muon.optimizers._polar_adamw import polar_adamw as polar_adamw
from optax_muon.optimizers._rmnp import rmnp as rmnp
from optax_muon.optimizers._sign_muon import sign_muon as sign_muon
from optax_muon.optimizers._soap import soap as soap
