"""The tests that also run with the oldest releases that pyproject.toml allows: under four minutes, every package.

A path under tests, or the beginning of a test's name. Chosen for what another release of JAX, Flax, Optax, NumPy or
Orbax could break: how kernels are read, arrays sharded and states kept, how functions of matrices are computed.
"""

OLDEST = (
    # Both of Flax's module systems: names, stacked axes, real models.
    "matrices/flax/test_leaves_from_flax.py",
    "matrices/flax/test_reading.py",
    "matrices/flax/test_stacked_axes.py",
    "matrices/call/test_products.py",
    "matrices/call/test_control_flow.py",
    "matrices/test_by_name.py",
    "matrices/names/test_layouts.py",
    "matrices/test_partition.py",
    # Meshes with Auto and with Explicit axes, checkpoints.
    "placement/test_local.py",
    "placement/test_over_mesh.py",
    "placement/test_mesh_resume.py",
    # One file or two of every other package.
    "linalg/test_hostile_input.py",
    "linalg/spectral/test_thresholds.py",
    "linalg/subspace/test_low_rank.py",
    "linalg/constrained/test_constrained.py::test_what_does_not_fit",
    "norms/test_radius.py",
    "norms/test_symmetry.py",
    "transforms/test_contrib_muon.py",
    "transforms/test_momentum.py",
    "transforms/test_migration.py",
    "optimizers/test_muon.py",
    "optimizers/test_soap.py",
    "diagnostics/test_report.py",
    "workers/test_vote.py",
    "examples/test_options.py",
    "examples/test_gpt.py::test_quickstart",
    "test_packaging.py",
    "test_docs.py::test_doctests",
)
