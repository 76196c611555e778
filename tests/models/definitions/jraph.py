"""Jraph: https://github.com/google-deepmind/jraph, graph networks with Haiku."""

import jax

from tests.models.definitions._definition import Call, definition, ints, load, shape


@definition("jraph/karate_club", "jraph/examples/zacharys_karate_club.py", "linear/w input io\n linear_1/w head io", "")
def karate_club():
    import haiku as hk
    import jraph

    example = load("jraph", "jraph/examples/zacharys_karate_club.py")
    network = hk.without_apply_rng(hk.transform(example.network_definition))
    graph = jraph.GraphsTuple(shape(34, 34), None, ints(156), ints(156), None, ints(1), ints(1))
    return Call(network.apply, lambda: network.init(jax.random.key(0), example.get_zacharys_karate_club()), (graph,))
