"""The exchange on a mesh with known shardings: plan, all-to-all there, compute whole matrices, all-to-all back."""
