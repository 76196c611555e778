"""Updates of every optimizer on seeded gradients, to be recorded before a change that must not change them."""
