"""PureJaxRL: https://github.com/luchris429/purejaxrl, actors and critics in Linen."""

from tests.models.definitions._definition import Linen, absent, definition, load, shape

absent("gymnax", "wrappers", "navix", "brax", "distrax")


@definition(
    "purejaxrl/ppo",
    "purejaxrl/ppo.py",
    "Dense_[03]/kernel input io\n Dense_[25]/kernel head io",
)
def ppo():
    module = load("purejaxrl", "purejaxrl/ppo.py")
    module.distrax.Categorical = lambda logits: logits
    return Linen(module.ActorCritic(6), (shape(2, 20),))


@definition(
    "purejaxrl/ppo_continuous",
    "purejaxrl/ppo_continuous_action.py",
    "Dense_[03]/kernel input io\n Dense_[25]/kernel head io\n log_std vector",
)
def ppo_continuous():
    module = load("purejaxrl", "purejaxrl/ppo_continuous_action.py")
    module.distrax.MultivariateNormalDiag = lambda mean, scale: (mean, scale)
    return Linen(module.ActorCritic(6), (shape(2, 20),))
