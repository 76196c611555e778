"""Optimizers of the hidden matrices that are compositions of the library's parts, for short runs."""

import optax

import optax_muon as om

CAUTIOUS = om.transforms.cautious_decay(0.1)


def soap_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float,
    second_moment_decay: float,
    weight_decay: optax.GradientTransformation = CAUTIOUS,
    leaves: om.Leaves | None = None,
) -> optax.GradientTransformation:
    """Adam in the eigenbases of the gradient, orthogonalised: SOAP before Muon, with cautious decay."""
    t = om.transforms
    adam = t.adam_direction(momentum, second_moment_decay)
    return optax.chain(
        t.rotated(adam, om.linalg.EigenBasis(refresh_every=1), leaves=leaves),
        t.apply_to_matrices(om.linalg.best(), leaves=leaves),
        t.scale_by_shape(om.shapes.Jordan(), leaves=leaves),
        weight_decay,
        optax.scale_by_learning_rate(learning_rate),
    )
