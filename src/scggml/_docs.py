"""Texts of parameters that many functions have, written once."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Documented = TypeVar("Documented", bound="Callable[..., Any]")

_WIDTH: Final = 112  # of the text, in docstrings of at most 120 columns
_USE: Final = re.compile(r"^( *)%\((\w+)\)s *$", re.MULTILINE)

TEXTS: Final = {
    "adata": "Cells, (n_obs, n_vars).",
    "ax": "Axes to draw on. None makes a new figure, which is closed if drawing fails.",
    "backed": (
        'Whether to leave `.X` in the file and read it when needed, like :func:`anndata.read_h5ad` with `backed="r"`.'
    ),
    "batch_key": (
        "Column of `.obs` with the technical batch of each sample. Samples with different labels are compared only "
        "within a batch, so that a difference between batches is not taken for one between labels. Samples with the "
        "same label are compared across batches as well, so that differences between batches count as noise."
    ),
    "cache_dir": (
        "Folder that keeps the file. None takes the environment variable `SCGGML_CACHE_DIR`, or the cache folder of "
        "the operating system if it is not set. Nothing is downloaded if the file is there, also if you put it there "
        "yourself."
    ),
    "cell_type_key": "Column of `.obs` with the type of each cell.",
    "copy": "Whether to return a copy with the results, instead of writing them to the input.",
    "donor_key": (
        "Column of `.obs` with the donor of each sample. Samples of one donor are held out together. If labels differ "
        "within donors (paired designs), samples with different labels are compared only within a donor, and samples "
        "of donors that have only one label are compared with one another; with `batch_key`, only within a batch as "
        "well."
    ),
    "key": "Key of the metric: the `key_added` of :func:`scggml.tl.fit_metric`.",
    "key_added": "Key under which the results are stored.",
    "key_distances": 'Key of the distances, which are in `.obsp[key + "_distances"]`.',
    "key_explanation": 'Key of the explanation, which is in `.uns[key + "_explanation"]`.',
    "label_key": "Column of `.obs` with the label of each sample. All cells of a sample have the same label.",
    "label_kind": (
        '"class": labels have no order. "ordinal": labels are ordered, such as disease stages: ordered categories, or '
        'numbers of which only the order counts. "continuous": labels are numbers, such as ages. For "ordinal" and '
        '"continuous", distances should increase with the difference of the labels.'
    ),
    "layer": "Layer to use instead of `X`.",
    "n_jobs": (
        "Number of threads. None takes that of an active :func:`joblib.parallel_config`, else all cores. Results do "
        "not depend on it."
    ),
    "pdata": "Samples with distances, from :func:`scggml.tl.sample_distances`.",
    "pdata_explained": "Samples, after :func:`scggml.tl.explain_distances`.",
    "rng": "Seed or generator of random numbers.",
    "sample_key": "Column of `.obs` with the sample (patient) of each cell.",
    "sketch_key": (
        "Key of a sketch from :func:`scggml.pp.sketch`, whose points stand for the cells of each sample. None uses "
        "all cells."
    ),
    "use_rep": (
        'Features of the cells: "X" or a key of `.obsm`. None takes `.obsm["X_joint"]` of joined modalities or '
        '`.obsm["X_pca"]` if there is one and no `layer` is given, else `X`.'
    ),
}
# uses whose parameter has another name
_PARAMETERS: Final = {"key_distances": "key", "key_explanation": "key", "pdata_explained": "pdata"}


def shared_doc(documented: Documented) -> Documented:
    """Replace each line `%(name)s` of a docstring by the entry of that parameter in numpydoc's format.

    Lines that follow and are indented as the text go on with it. `%(key_distances)s` is the parameter `key` of
    distances instead of a metric; see `_PARAMETERS` for others.
    """
    if documented.__doc__ is not None:  # there is none with python -OO
        documented.__doc__ = _USE.sub(lambda use: _entry(use, documented), documented.__doc__)
    return documented


def _entry(use: re.Match[str], documented: Any) -> str:
    indent, name = use.groups()
    if name not in TEXTS:
        known = ", ".join(TEXTS)
        msg = (
            f"the docstring of {documented.__qualname__} has %({name})s, which is not a shared text. There are: {known}"
        )
        raise KeyError(msg)
    text = textwrap.fill(TEXTS[name], _WIDTH, break_long_words=False, break_on_hyphens=False)
    return textwrap.indent(f"{_PARAMETERS.get(name, name)}\n{textwrap.indent(text, '    ')}", indent)
