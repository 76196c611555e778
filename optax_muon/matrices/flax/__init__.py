"""What the modules of a Flax model say of their parameters."""
