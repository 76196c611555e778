"""CleanRL: https://github.com/vwxyzjn/cleanrl, networks in Linen."""

from tests.models.definitions._definition import Linen, absent, definition, load, shape

absent("gymnasium", "gym", "envpool", "stable_baselines3", "tyro", "cleanrl_utils", "torch", "tensorboard")


@definition(
    "cleanrl/td3_critic", "cleanrl/td3_continuous_action_jax.py", "Dense_0/kernel input io\n Dense_2/kernel head io"
)
def td3_critic():
    module = load("cleanrl", "cleanrl/td3_continuous_action_jax.py")
    return Linen(module.QNetwork(), (shape(2, 20), shape(2, 6)))


@definition("cleanrl/c51", "cleanrl/c51_jax.py", "Dense_0/kernel input io\n Dense_2/kernel head io")
def c51():
    module = load("cleanrl", "cleanrl/c51_jax.py")
    return Linen(module.QNetwork(6, 11), (shape(2, 20),))
