"""A small cohort that all tests share, fitted once, and exact comparison of AnnDatas."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

os.environ.setdefault("MPLBACKEND", "Agg")  # before anything imports pyplot

import scggml as sg

SIZES = (9, 12, 10, 14, 11, 8, 13, 10)
N_GENES = 12
N_PCS = 5


def make_cohort() -> AnnData:
    """8 samples of 8-14 cells, 4 per class, in shuffled order; gene g3 rises in the disease."""
    rng = np.random.default_rng(7)
    sample = np.repeat(np.arange(len(SIZES)), SIZES)
    rng.shuffle(sample)
    disease = sample % 2 == 1
    mean = rng.uniform(0.5, 3.0, size=N_GENES)
    rates = np.tile(mean, (len(sample), 1)) * np.exp(rng.normal(scale=0.15, size=(len(SIZES), N_GENES)))[sample]
    rates[disease, 3] *= 4
    counts = rng.poisson(rates).astype(np.float32)
    x = np.log1p(counts)
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    pcs = np.linalg.svd(centred, full_matrices=False)[2][:N_PCS].T
    pca = centred @ pcs
    names = np.array([f"p{s}" for s in "53172846"], dtype=object)  # not in the order of the codes
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical(names[sample], categories=sorted(names)),
            "label": pd.Categorical(np.where(disease, "sick", "well"), categories=["well", "sick"]),
            "age": 30.0 + 2 * sample,
            "cell_type": pd.Categorical(rng.choice(["T", "B"], size=len(sample))),
            "score": rng.normal(size=len(sample)),
        },
        index=[f"cell{i}" for i in range(len(sample))],
    )
    adata = AnnData(
        sp.csr_matrix(x),
        obs=obs,
        var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]),
        obsm={"X_pca": pca, "X_df": pd.DataFrame(pca[:, :3], index=obs.index, columns=["u", "v", "w"])},
        varm={"PCs": pcs},
        layers={"counts": sp.csr_matrix(counts)},
        uns={"label_colors": ["#112233", "#aa0000"]},
    )
    return adata


@pytest.fixture(scope="session")
def _cohort() -> AnnData:
    return make_cohort()


@pytest.fixture(scope="session")
def _fitted(_cohort) -> AnnData:
    return sg.tl.fit_metric(_cohort, "sample", "label", rng=0, copy=True)


@pytest.fixture(scope="session")
def _fitted_x(_cohort) -> AnnData:
    return sg.tl.fit_metric(_cohort, "sample", "label", use_rep="X", rng=0, copy=True)


@pytest.fixture(scope="session")
def _pdata(_fitted) -> AnnData:
    pdata = sg.tl.sample_distances(_fitted)
    sg.tl.embed_samples(pdata, "mds")
    return pdata


@pytest.fixture
def cohort(_cohort) -> AnnData:
    """Cells, not fitted; `X_pca` with `PCs`, a DataFrame in `obsm`, a layer."""
    return _cohort.copy()


@pytest.fixture
def fitted(_fitted) -> AnnData:
    """Cells with a metric learned on `X_pca`."""
    return _fitted.copy()


@pytest.fixture
def fitted_x(_fitted_x) -> AnnData:
    """Cells with a metric learned on `X`."""
    return _fitted_x.copy()


@pytest.fixture
def pdata(_pdata) -> AnnData:
    """Samples with learned distances and an MDS map."""
    return _pdata.copy()


def _assert_equal(left, right, path):
    if isinstance(left, Mapping):
        assert isinstance(right, Mapping), path
        assert sorted(left) == sorted(right), path
        for key in left:
            _assert_equal(left[key], right[key], f"{path}/{key}")
    elif isinstance(left, pd.DataFrame):
        pd.testing.assert_frame_equal(left, right, obj=path)
    elif sp.issparse(left):
        assert sp.issparse(right), path
        assert left.format == right.format, path
        _assert_equal(left.toarray(), right.toarray(), path)
    elif left is None:
        assert right is None, path
    elif isinstance(left, str | bool | int | float | np.generic):
        assert not isinstance(right, np.ndarray) or right.ndim == 0, path
        assert left == right, path
    else:
        left, right = np.asarray(left), np.asarray(right)
        assert left.dtype.kind == right.dtype.kind or {left.dtype.kind, right.dtype.kind} <= set("OUT"), path
        assert left.dtype.kind in "OUT" or left.dtype.names or left.dtype == right.dtype, path
        if left.dtype.names:  # NaN in records is not equal to itself
            assert left.dtype.names == right.dtype.names, path
            for name in left.dtype.names:
                _assert_equal(left[name], right[name], f"{path}/{name}")
            return
        np.testing.assert_array_equal(left, right, err_msg=path)


@pytest.fixture(scope="session")
def assert_same_anndata():
    """Assert that two AnnDatas hold the same values of the same type in every slot."""

    def compare(left: AnnData, right: AnnData) -> None:
        assert left.is_view == right.is_view
        for slot in ("X", "obs", "var"):
            _assert_equal(getattr(left, slot), getattr(right, slot), slot)
        for slot in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
            # from anndata 0.13 on, layers[None] is X
            one, other = ({k: v for k, v in getattr(x, slot).items() if k is not None} for x in (left, right))
            _assert_equal(one, other, slot)

    return compare


@pytest.fixture
def pyplot():
    """Pyplot without figures, before and after."""
    from matplotlib import pyplot as plt

    plt.close("all")
    yield plt
    plt.close("all")
