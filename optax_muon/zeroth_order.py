"""Gradients estimated from values of the loss, without a backward pass."""

from optax_muon._estimates import Subspace as Subspace
from optax_muon._estimates import from_slopes as from_slopes
from optax_muon._estimates import gradient as gradient
from optax_muon._estimates import slopes as slopes
