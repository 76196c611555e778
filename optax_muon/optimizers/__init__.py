"""Named optimizers, one file per paper."""

import typing as _typing

from optax_muon._renamed import renamed_names as _renamed_names
from optax_muon.optimizers._adago import adago as adago
from optax_muon.optimizers._adamuon import adamuon as adamuon
from optax_muon.optimizers._amuse import amuse as amuse
from optax_muon.optimizers._asgo import asgo as asgo
from optax_muon.optimizers._aurora import aurora as aurora
from optax_muon.optimizers._conda import conda as conda
from optax_muon.optimizers._cosmos import cosmos as cosmos
from optax_muon.optimizers._dion import dion as dion
from optax_muon.optimizers._dion2 import dion2 as dion2
from optax_muon.optimizers._dion3 import dion3 as dion3
from optax_muon.optimizers._ef_muon import ef_muon as ef_muon
from optax_muon.optimizers._freon import freon as freon
from optax_muon.optimizers._gluon import gluon as gluon
from optax_muon.optimizers._gluon import gluon_schedules as gluon_schedules
from optax_muon.optimizers._htmuon import htmuon as htmuon
from optax_muon.optimizers._hyperball import hyperball as hyperball
from optax_muon.optimizers._kaon import kaon as kaon
from optax_muon.optimizers._kl_shampoo import kl_shampoo as kl_shampoo
from optax_muon.optimizers._limuon import limuon as limuon
from optax_muon.optimizers._lion_muon import lion_muon as lion_muon
from optax_muon.optimizers._low_rank_muon import low_rank_muon as low_rank_muon
from optax_muon.optimizers._mano import mano as mano
from optax_muon.optimizers._mimuon import mimuon as mimuon
from optax_muon.optimizers._muadam import muadam as muadam
from optax_muon.optimizers._mucon import mucon as mucon
from optax_muon.optimizers._muon import muon as muon
from optax_muon.optimizers._muon_bp import muon_bp as muon_bp
from optax_muon.optimizers._muon_h import muon_h as muon_h
from optax_muon.optimizers._muon_igt import muon_igt as muon_igt
from optax_muon.optimizers._muon_max import muon_max as muon_max
from optax_muon.optimizers._muon_mvr import muon_mvr as muon_mvr
from optax_muon.optimizers._muon_plus import muon_plus as muon_plus
from optax_muon.optimizers._muon_sign import muon_sign as muon_sign
from optax_muon.optimizers._muon_squared import muon_squared as muon_squared
from optax_muon.optimizers._muon_usign import muon_usign as muon_usign
from optax_muon.optimizers._muoneq import muoneq as muoneq
from optax_muon.optimizers._muown import muown as muown
from optax_muon.optimizers._namo import namo as namo
from optax_muon.optimizers._nora import nora as nora
from optax_muon.optimizers._normuon import normuon as normuon
from optax_muon.optimizers._optmuon import optmuon as optmuon
from optax_muon.optimizers._orscale import orscale as orscale
from optax_muon.optimizers._orscale_lm import orscale_lm as orscale_lm
from optax_muon.optimizers._pion import pion as pion
from optax_muon.optimizers._polar_adamw import polar_adamw as polar_adamw
from optax_muon.optimizers._polargrad import polargrad as polargrad
from optax_muon.optimizers._rmnp import rmnp as rmnp
from optax_muon.optimizers._scion import scion as scion
from optax_muon.optimizers._scion import scion_init as scion_init
from optax_muon.optimizers._sf_normuon import sf_normuon as sf_normuon
from optax_muon.optimizers._sign_muon import sign_muon as sign_muon
from optax_muon.optimizers._soap import soap as soap
from optax_muon.optimizers._soft_muon import soft_muon as soft_muon
from optax_muon.optimizers._soft_signum import soft_signum as soft_signum
from optax_muon.optimizers._spectra import spectra as spectra
from optax_muon.optimizers._splus import splus as splus
from optax_muon.optimizers._symmetry_compatible import symmetry_compatible as symmetry_compatible
from optax_muon.optimizers._symmetry_compatible import symmetry_ops as symmetry_ops
from optax_muon.optimizers._transported_scion import transported_scion as transported_scion

if not _typing.TYPE_CHECKING:  # a module's __getattr__ would make every misspelled name right
    __getattr__ = _renamed_names(__name__, {"symmetry_rules": "symmetry_ops"})
