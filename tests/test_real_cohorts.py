"""The main job on two cohorts of patients; the files are not part of the package."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

import scggml as sg

DATA = Path(os.environ.get("SCGGML_DATA", Path(__file__).parents[2] / "shared" / "data"))
KANG, AML = DATA / "kang2018_ifnb_pbmc.h5ad", DATA / "vangalen2019_aml.h5ad"
# textbook interferon-stimulated genes
INTERFERON = set(
    "ISG15 ISG20 IFIT1 IFIT2 IFIT3 IFIT5 IFITM1 IFITM2 IFITM3 RSAD2 CXCL9 CXCL10 CXCL11 CCL2 CCL7 CCL8 TNFSF10 TNFSF13B "
    "IDO1 APOBEC3A APOBEC3B MX1 MX2 LY6E IFI6 IFI16 IFI27 IFI35 IFI44 IFI44L IFIH1 OAS1 OAS2 OAS3 OASL DDX58 DDX60 HERC5 "
    "HERC6 XAF1 EPSTI1 PLSCR1 IRF7 STAT1 USP18 UBE2L6 BST2 SAMD9 SAMD9L CMPK2 GBP1 GBP4 GBP5 SP110 TRIM22 WARS".split()
)

pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning:anndata", "ignore:.*:DeprecationWarning:anndata")


def read(path):
    if not path.is_file():
        pytest.skip(f"{path} is missing: set SCGGML_DATA to the folder of the real cohorts")
    return ad.read_h5ad(path)


@pytest.fixture(scope="module")
def kang():
    return read(KANG)


def test_kang_leave_one_donor_out(kang):
    names = sorted(kang.obs["sample"].unique())
    where = [(kang.obs["sample"] == name).to_numpy() for name in names]
    clouds = [kang.obsm["X_pca"][rows] for rows in where]
    y = np.array([str(kang.obs["label"][rows].iloc[0]) for rows in where])
    donors = np.array([str(kang.obs["donor"][rows].iloc[0]) for rows in where])
    assert len(names) == 16 and len(set(donors)) == 8
    classifier = sg.OTNeighborsClassifier(sg.GroundMetricLearner(scale="global"))
    predicted = cross_val_predict(classifier, clouds, y, groups=donors, cv=LeaveOneGroupOut())
    assert (predicted == y).mean() == 1.0


@pytest.mark.parametrize(("use_rep", "least"), [("X", 8), ("X_pca", 6)])
def test_kang_interferon_genes_lead(kang, use_rep, least):
    adata = sg.tl.fit_metric(kang, "sample", "label", use_rep=use_rep, rng=0, copy=True)
    top = list(sg.get.gene_weights(adata).index[:10])
    assert len(INTERFERON & set(top)) >= least, top


@pytest.mark.filterwarnings("ignore:1 of 16 samples have far fewer cells")
def test_kang_is_drawn(kang, pyplot):
    adata = sg.tl.fit_metric(kang, "sample", "label", copy=True)
    pdata = sg.tl.sample_distances(adata)
    sg.tl.embed_samples(pdata, "mds")
    ax = sg.pl.sample_map(pdata, color="label")
    assert sum(len(points.get_offsets()) for points in ax.collections) == 16
    assert len(sg.pl.gene_weights(adata).patches) == 20
    # both conditions are on their own side of the map
    first = pdata.obsm["X_mds"][:, 0]
    stim = (pdata.obs["label"] == "stim").to_numpy()
    assert first[stim].max() < first[~stim].min() or first[~stim].max() < first[stim].min()


def test_aml_from_cells_to_map(pyplot):
    whole = read(AML)
    rng = np.random.default_rng(0)
    rows = [
        rng.permutation(np.flatnonzero((whole.obs["sample"] == name).to_numpy()))[:100]
        for name in whole.obs["sample"].unique()
    ]
    adata = whole[np.sort(np.concatenate(rows))].copy()
    sg.tl.fit_metric(adata, "sample", "hierarchy")
    pdata = sg.tl.sample_distances(adata)
    sg.tl.embed_samples(pdata, "mds")
    ax = sg.pl.sample_map(pdata, color="hierarchy")
    assert sum(len(points.get_offsets()) for points in ax.collections) == pdata.n_obs == 18
    assert sg.pl.distance_heatmap(pdata, color="hierarchy").images
    assert len(adata.uns["ggml"]["classes"]) == 3
    # samples are nearer to their own class than to the others
    d = pdata.obsp["ggml_distances"]
    same = pdata.obs["hierarchy"].to_numpy()[:, None] == pdata.obs["hierarchy"].to_numpy()
    apart = ~np.eye(len(d), dtype=bool)
    assert d[same & apart].mean() < d[~same].mean()
