"""Sphinx configuration."""

import optax_muon

project = "optax_muon"
author = "the optax_muon authors"
version = release = optax_muon.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "records"]
html_theme = "furo"
html_title = f"optax_muon {release}"
napoleon_use_ivar = True  # else the fields of a NamedTuple are documented twice
autodoc_typehints = "none"
autodoc_member_order = "groupwise"
