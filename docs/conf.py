"""Sphinx configuration: https://www.sphinx-doc.org/en/master/usage/configuration.html."""

import os
from importlib.metadata import metadata

import latex2mathml.converter
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon import NumpyDocstring
from sphinx.writers.html5 import HTML5Translator

# -- project ---------------------------------------------------------------------------------------------------------
info = metadata("scggml")
project = info["Name"]
author = info["Author"]
copyright = f"2026, {author}"
version = release = info["Version"]

# -- general ---------------------------------------------------------------------------------------------------------
needs_sphinx = "8.1"
extensions = [
    "matplotlib.sphinxext.plot_directive",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_llms_txt",
    "sphinxcontrib.bibtex",
    "sphinxext.opengraph",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "jupyter_execute", "**.ipynb_checkpoints", ".DS_Store", "Thumbs.db"]
default_role = "literal"

# -- cross-references ------------------------------------------------------------------------------------------------
nitpicky = True  # a reference within these pages that leads nowhere is a warning

# Those to other projects need the network, which only the published build can count on.
_OTHERS = r"(anndata|joblib|matplotlib|mudata|numpy|os|pandas|scanpy|scipy|sklearn)\..*"
nitpick_ignore_regex = [(r"py:.*", _OTHERS)]
if os.environ.get("READTHEDOCS"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "joblib": ("https://joblib.readthedocs.io/en/stable/", None),
        "matplotlib": ("https://matplotlib.org/stable/", None),
        "mudata": ("https://mudata.readthedocs.io/en/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/pandas-docs/stable/", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
        "scipy": ("https://docs.scipy.org/doc/scipy/", None),
        "sklearn": ("https://scikit-learn.org/stable/", None),
    }

# Types in signatures as they are written there, for they are imported by type checkers only: what they stand for.
_TYPES = {
    "AnnData": "anndata.AnnData",
    "anndata._core.anndata.AnnData": "anndata.AnnData",
    "Axes": "matplotlib.axes.Axes",
    "MuData": "mudata.MuData",
    "NDArray": "numpy.ndarray",
    "ndarray": "numpy.ndarray",
    "np.float64": "numpy.float64",
    "np.floating": "numpy.floating",
    "np.random.Generator": "numpy.random.Generator",
    "pd.DataFrame": "pandas.DataFrame",
}
# Types without a page, and words of shapes.
_PLAIN = ["Entropic", "Exact", "GroundMetric", "LabelKind", "Measures", "Preset", "Regularizer", "Samples", "Start"]
_PLAIN += ["shape", "n_classes", "n_components", "n_features", "n_iter"]
nitpick_ignore = [("py:class", name) for name in _PLAIN]

# -- API reference ---------------------------------------------------------------------------------------------------
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"  # docstrings hold no types: the signature does
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = False  # it would eat the underscore at the end of a fitted attribute


def _parse_returns(self: NumpyDocstring, section: str) -> list[str]:
    """Take *Returns* as it stands: prose, or a definition list of AnnData fields, where napoleon expects a type."""
    lines = self._format_block(":returns: ", self._dedent(self._consume_to_next_section()))
    return [*lines, ""] if lines and lines[-1] else lines


NumpyDocstring._parse_returns_section = _parse_returns

# -- pictures of the examples of `pl` ------------------------------------------------------------------------------------
plot_include_source = True
plot_html_show_formats = plot_html_show_source_link = False
plot_formats = [("png", 90)]
plot_rcparams = {"savefig.bbox": "tight"}

# -- citations -------------------------------------------------------------------------------------------------------
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

# -- pages and notebooks ---------------------------------------------------------------------------------------------
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
# Two tutorials download real cohorts. They are executed where the downloads have a folder, else shown as they were stored.
nb_execution_excludepatterns = (
    []
    if {"READTHEDOCS", "SCGGML_CACHE_DIR"} & os.environ.keys()
    else ["tutorials/kidney_biopsies.ipynb", "tutorials/leukaemia.ipynb"]
)
nb_merge_streams = True
nb_output_stderr = "remove-warn"  # a warning in a tutorial fails the build, ...
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # ... save tqdm's about progress bars
os.environ.pop("MPLBACKEND", None)  # notebooks show figures by the inline backend only

# -- formulas: MathML, which browsers draw themselves: no script, no network -------------------------------------------
html_math_renderer = "mathml"


def _inline_math(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(latex2mathml.converter.convert(node.astext()))
    raise nodes.SkipNode


def _display_math(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="formula">{latex2mathml.converter.convert(node.astext(), display="block")}</div>\n')
    raise nodes.SkipNode


def _name_types(_: Sphinx, document: nodes.document) -> None:
    for reference in document.findall(addnodes.pending_xref):
        if reference.get("refdomain") == "py":
            reference["reftarget"] = _TYPES.get(reference["reftarget"], reference["reftarget"])


def setup(app: Sphinx) -> None:
    """Draw formulas as MathML, and let types lead to their pages."""
    app.connect("doctree-read", _name_types)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_display_math, None))


# -- HTML ------------------------------------------------------------------------------------------------------------
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["custom.css"]
ogp_site_url = os.environ.get("READTHEDOCS_CANONICAL_URL", "")
ogp_image = "_static/first_page.png"
ogp_social_cards = {"enable": False}  # drawing them takes fonts from the network
llms_txt_summary = "Supervised ground-metric learning for optimal transport between patients, from single-cell data."
html_theme_options = {
    "navbar_persistent": [],  # the sidebar has a search field already
    "navigation_with_keys": False,
    "show_toc_level": 2,
}
