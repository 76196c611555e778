"""JAXRL: https://github.com/ikostrikov/jaxrl, actors and critics in Linen."""

from tests.models.definitions._definition import Linen, bare, definition, shape

bare("jaxrl.networks")


@definition(
    "jaxrl/double_critic",
    "jaxrl/networks/critic_net.py",
    """
    bias             vector
    Dense_0/kernel   input bio
    Dense_1/kernel   hidden bio
    Dense_2/kernel   head bio
    """,
)
def double_critic():
    from jaxrl.networks import critic_net

    return Linen(critic_net.DoubleCritic((48, 32)), (shape(4, 11), shape(4, 6)))


@definition(
    "jaxrl/policy",
    "jaxrl/networks/policies.py",
    """
    MLP_0/Dense_0/kernel    input io
    MLP_0/Dense_1/kernel    hidden io
    Dense_0/kernel          head io
    Dense_1/kernel          head io
    """,
)
def policy():
    from jaxrl.networks import policies

    class Mean(policies.NormalTanhPolicy):
        """Both parameters of the distribution, which is no array itself."""

        def __call__(self, observations):
            base = super().__call__(observations).distribution
            return base.mean(), base.stddev()

    return Linen(Mean((48, 32), 6), (shape(4, 11),))
