from __future__ import annotations

import hashlib

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scggml as sg
from scggml.datasets import _iga_nephropathy_cohort as module

pytest.importorskip("pooch")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A cohort with the columns of the published one, put into the cache by hand; its checksum is the right one."""
    rng = np.random.default_rng(0)
    egfr = ["<30", "30-60", ">60"]
    obs = pd.DataFrame(
        {
            "sampleID": pd.Categorical([f"VALIGA_{i}" for i in range(9) for _ in range(6)]),
            "status": pd.Categorical(np.repeat(egfr, 18)),
        },
        index=[str(i) for i in range(54)],
    )
    x = rng.lognormal(sigma=0.3, size=(54, 4)) * [3e4, 170, 0.5, 1.0]
    adata = ad.AnnData((x * np.repeat([1, 2, 4], 18)[:, None]).astype(np.float32), obs=obs)
    adata.write_h5ad(tmp_path / "Kidney_IgAN_G.h5ad")
    content = (tmp_path / "Kidney_IgAN_G.h5ad").read_bytes()
    monkeypatch.setattr(module, "_CHECKSUM", f"sha256:{hashlib.sha256(content).hexdigest()}")
    return adata


def test_from_the_cache_to_an_ordinal_metric(published, tmp_path):
    adata = sg.datasets.iga_nephropathy_cohort(cache_dir=tmp_path)
    pd.testing.assert_frame_equal(adata.obs, published.obs)
    adata.obs["status"] = adata.obs["status"].cat.set_categories(["<30", "30-60", ">60"], ordered=True)
    sg.tl.fit_metric(adata, "sampleID", "status", label_kind="ordinal", use_rep="X", rng=0)
    assert list(adata.uns["ggml"]["classes"]) == ["<30", "30-60", ">60"]


def test_another_file_is_refused(published, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHECKSUM", "sha256:" + 64 * "0")
    with pytest.raises(ValueError, match="is not the published file"):
        sg.datasets.iga_nephropathy_cohort(cache_dir=tmp_path)


def test_where_it_comes_from(monkeypatch):
    asked = {}
    monkeypatch.setattr(module, "load_cohort", lambda name, **options: asked.update(options, name=name))
    sg.datasets.iga_nephropathy_cohort()
    assert f"{asked['base_url']}/{asked['name']}.h5ad" == (
        "https://raw.githubusercontent.com/CostaLab/PILOT/4eb26b135a2948bbd97436e8057bf387e36ab3a6/Tutorial/Datasets/"
        "Kidney_IgAN_G.h5ad"
    )
