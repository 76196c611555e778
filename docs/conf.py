"""Sphinx configuration."""

import pathlib
import sys

import optax_muon

sys.path.insert(0, str(pathlib.Path(__file__).parent))

project = "optax_muon"
author = "the optax_muon authors"
version = release = optax_muon.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "code_links"]
html_math_renderer = "mathml"
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "records", "jupyter_execute"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_copyright = False
html_title = f"optax_muon {release}"
napoleon_use_ivar = True  # else the fields of a NamedTuple are documented twice
autodoc_typehints = "none"
autodoc_member_order = "groupwise"
