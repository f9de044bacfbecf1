"""Importing is light and changes nothing."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import textwrap

import pytest

import scggml as sg

PUBLIC = [
    "GroundMetricLearner",
    "OTNeighborsClassifier",
    "Refinement",
    "Sinkhorn",
    "__version__",
    "datasets",
    "get",
    "pl",
    "pp",
    "report",
    "tl",
]
HEAVY = {
    "torch",
    "ot",
    "matplotlib",
    "seaborn",
    "scanpy",
    "umap",
    "mudata",
    "decoupler",
    "distributed",
    "pooch",
    "plotly",
    "jinja2",
}


def fresh(code):
    """Run code in a new interpreter; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.split()


def test_import_loads_nothing_heavy():
    loaded = fresh("""
        import sys
        import scggml
        print(*{name.split(".")[0] for name in sys.modules})
    """)
    assert "scggml" in loaded
    heavy = {"torch", "ot", "matplotlib", "scanpy", "sklearn", "seaborn", "umap", "pandas", "scipy", "numpy", "anndata"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import scggml.pp, scggml.tl, scggml.datasets", HEAVY),
        ("import scggml.pl, scggml.get", HEAVY | {"anndata"}),
        ("import scggml.cli", HEAVY | {"anndata", "pandas", "scipy", "sklearn", "numba"}),
        ("import scggml.estimators", HEAVY | {"anndata"}),
        ("import scggml.core.transport._exact, scggml.core.metric._training", HEAVY | {"anndata"}),
        ("import scggml.core.measures._measures", HEAVY | {"anndata", "pandas", "sklearn", "numba"}),
    ],
)
def test_parts_load_only_what_they_need(statement, heavy):
    def modules(code):
        return set(fresh(f"{code}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"))

    loaded = heavy & modules(statement)
    assert "anndata" not in loaded
    assert not loaded or loaded <= modules("import anndata")  # before dask 2025, anndata loads distributed


def test_import_changes_no_global_state():
    # dependencies come first: what they change is theirs
    assert (
        fresh("""
        import logging, os, random, threading, warnings
        import anndata, joblib, matplotlib.pyplot, numpy, ot, scanpy, scipy.spatial, seaborn, sklearn.manifold
        import sklearn.base, sklearn.model_selection, torch, tqdm.auto

        def state():
            return {
                "numpy": numpy.random.get_state()[1].tolist(),
                "numpy errors": numpy.geterr(),
                "random": random.getstate(),
                "torch seed": torch.random.get_rng_state().tolist(),
                "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads(), torch.get_default_dtype()),
                "rcParams": dict(matplotlib.rcParams),
                "backend": matplotlib.get_backend(),
                "warnings": list(warnings.filters),
                "environment": dict(os.environ),
                "logging": (logging.root.level, list(logging.root.handlers), logging.getLogger("scggml").handlers),
                "threads": threading.active_count(),
                "pandas": repr(anndata.settings),
            }

        before = state()
        import scggml, scggml.cli, scggml.core, scggml.estimators
        for name in scggml.__all__:
            getattr(scggml, name)
        after = state()
        print(*[name.replace(" ", "_") for name in before if before[name] != after[name]])
    """)
        == []
    )


def test_public_names():
    assert sorted(sg.__all__) == sg.__all__ == PUBLIC
    assert dir(sg) == PUBLIC
    for name in PUBLIC:
        assert getattr(sg, name) == getattr(sg, name) is not None
    assert sg.__version__ == importlib.metadata.version("scggml")
    assert sg.GroundMetricLearner.__name__ == "GroundMetricLearner"
    assert callable(sg.tl.fit_metric) and callable(sg.pl.sample_map) and callable(sg.report)


def test_lazy_modules_without_an_import_statement():
    assert fresh("import scggml as sg; print(sg.tl.__name__, sg.pl.__name__, sg.get.__name__, sg.pp.__name__)") == [
        f"scggml.{name}" for name in ("tl", "pl", "get", "pp")
    ]


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="module 'scggml' has no attribute 'tools'"):
        sg.tools  # noqa: B018 the access is what fails
    assert not hasattr(sg, "_nothing")


def test_from_import():
    assert fresh("from scggml import *; print(GroundMetricLearner.__name__, tl.__name__)") == [
        "GroundMetricLearner",
        "scggml.tl",
    ]


def test_typed():
    from pathlib import Path

    assert (Path(sg.__file__).parent / "py.typed").is_file()
