"""Optimal transport after a linear map that was learned on single cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.preprocessing import FunctionTransformer

from scggml.core.measures._moments import feature_scale
from scggml.core.transport._distances import pairwise_distances

from ._held import Held

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures

    from ._samples import Samples
    from ._splits import Split

_MAX_NCA_CELLS = 1000  # its cost grows with their square
_MAX_WDA_CELLS = 300  # likewise, in each step
_MAX_WDA_STEPS = 50
N_COMPS = 10  # of PCA and NCA
N_WDA_COMPS = 2  # POT's default; as many as there are features leave nothing to learn
CELL_METRICS = ("pca", "lda", "nca", "wda")


@dataclass(frozen=True, eq=False)
class CellMetric:
    """Optimal transport after a linear map that was learned on single cells. A cell has the class of its sample."""

    kind: str

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        train, test = scaled_cells(samples, split, self.kind)
        codes = np.repeat(samples.codes[split.train], train.sizes)
        rows = np.arange(len(codes))
        if not train.are_uniform:  # points of a sketch stand for many cells
            rows = np.random.default_rng(seed).choice(rows, len(rows), p=train.weights / train.weights.sum())
        projection = self._fit(train.points[rows], codes[rows], seed)
        train, test = (m.with_points(np.ascontiguousarray(projection.transform(m.points))) for m in (train, test))
        return Held(
            pairwise_distances(test, train, n_jobs=n_jobs)[0],
            pairwise_distances(test, n_jobs=n_jobs)[0] if len(test) > 1 else None,
        )

    def _fit(self, x: NDArray[np.float64], codes: NDArray[np.int64], seed: int) -> Any:
        n_comps = min(N_COMPS, *x.shape)
        if self.kind == "pca":
            return PCA(n_comps, random_state=seed).fit(x)
        if self.kind == "lda":
            return LinearDiscriminantAnalysis().fit(x, codes)
        order = np.random.default_rng(seed).permutation(len(x))
        if self.kind == "nca":
            rows = order[:_MAX_NCA_CELLS]
            nca = NeighborhoodComponentsAnalysis(n_comps, init="pca", max_iter=50, random_state=seed)
            return nca.fit(x[rows], codes[rows])
        per_class = max(_MAX_WDA_CELLS // len(np.unique(codes)), 1)
        rows = np.concatenate([order[codes[order] == c][:per_class] for c in np.unique(codes)])
        return _wasserstein_discriminant(x[rows], codes[rows])


def scaled_cells(samples: Samples, split: Split, name: str) -> tuple[Measures, Measures]:
    """Return training and held-out samples in the features that vary between training cells, in units of these."""
    train, test = samples.take(split.train).measures, samples.take(split.test).measures
    scale, constant = feature_scale(train, samples.scale)
    if constant.all():
        msg = f"no feature varies between the training cells: there is nothing to learn {name!r} from"
        raise ValueError(msg)
    keep = ~constant
    train, test = (m.with_points(_dense(m.points)[:, keep] / scale[keep]) for m in (train, test))
    return train, test


def check_wda_is_installed() -> None:
    """Say how to install what POT needs for Wasserstein discriminant analysis."""
    try:
        import ot.dr  # noqa: F401
    except ImportError as error:
        msg = (
            "methods holds 'wda', for which POT needs autograd and pymanopt. Install them with: pip install "
            '"scggml[wda]"'
        )
        raise ImportError(msg) from error


def _wasserstein_discriminant(x: NDArray[np.float64], codes: NDArray[np.int64]) -> Any:
    """Fit Wasserstein discriminant analysis by POT, from the leading principal components on."""
    from ot.dr import wda
    from pymanopt.optimizers import SteepestDescent

    n_comps = min(N_WDA_COMPS, *x.shape)
    start = PCA(n_comps, svd_solver="full").fit(x).components_.T
    solver = SteepestDescent(max_iterations=_MAX_WDA_STEPS, verbosity=0)
    # POT centres its input in place
    directions, _ = wda(x.copy(), codes, p=n_comps, P0=start, solver=solver)
    return FunctionTransformer(lambda points: points @ directions)


def _dense(points: Any) -> NDArray[np.float64]:
    return (points.toarray() if hasattr(points, "toarray") else points).astype(np.float64, copy=False)
