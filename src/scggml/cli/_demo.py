"""`scggml demo`: a simulated cohort, and new patients of the same simulation."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import numba

import scggml as sg
from scggml.core.measures._compiled import cached_imports

from ._analysis import Question, analyse
from ._finished_steps import FinishedSteps
from ._output import Steps, tell
from ._results import results_folder

if TYPE_CHECKING:
    import argparse

_N_PATIENTS, _N_NEW = 24, 40  # to learn from, and new ones


def demo(args: argparse.Namespace) -> None:
    """Simulate a cohort and analyse it."""
    with results_folder(args.out) as results:
        steps = Steps(7)
        steps.begin("a simulated cohort")
        sc = _scanpy()
        cohort = sg.datasets.simulated_cohort(n_samples=_N_PATIENTS + _N_NEW, rng=args.seed)
        sc.pp.normalize_total(cohort, target_sum=1e4)
        sc.pp.log1p(cohort)
        is_known = cohort.obs["sample"].isin(cohort.obs["sample"].cat.categories[:_N_PATIENTS])
        adata, new = cohort[is_known].copy(), cohort[~is_known].copy()
        sc.pp.pca(adata, n_comps=30)
        changed = set(adata.var_names[adata.var["programme"]])
        question = Question("sample", "label", use_rep="X_pca")
        text = analyse(adata, question, args, results, steps, finished=FinishedSteps(), changed=changed, new=new)
    tell(text, args, steps.start)


def _scanpy() -> Any:
    """Return scanpy, which cannot be imported without a place for numba's cache: a temporary one, if need be."""
    try:
        with cached_imports():
            import scanpy as sc
    except ImportError as error:
        if not isinstance(error.__cause__, RuntimeError):
            raise
        folder = tempfile.mkdtemp(prefix="scggml-numba-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]
        import scanpy as sc
    return sc
