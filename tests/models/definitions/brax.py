"""Brax: https://github.com/google/brax, the networks of its agents in Linen."""

from tests.models.definitions._definition import Linen, bare, definition, shape

bare("brax.training")


@definition("brax/policy", "brax/training/networks.py", "hidden_0/kernel input io\n hidden_3/kernel head io")
def policy():
    from brax.training import networks

    return Linen(networks.MLP((32, 48, 32, 6)), (shape(2, 11),))


@definition(
    "brax/vision",
    "brax/training/networks.py",
    "CNN_0/Conv_0/kernel input iiio\n MLP_0/hidden_2/kernel head io",
)
def vision():
    from brax.training import networks

    return Linen(networks.VisionMLP((64, 32, 6)), ({"pixels/front": shape(2, 64, 64, 3)},))


@definition("brax/spectral", "brax/training/networks.py", "hidden_0/kernel input io\n hidden_2/kernel head io")
def spectral():
    from brax.training import networks

    return Linen(networks.SNMLP((32, 48, 6)), (shape(2, 11),))
