from __future__ import annotations

import pytest

import scggml as sg

FILE = "1c360b0b-eb2f-45a3-aba9-056026b39fa5.h5ad"  # downloads are tested in test_downloads.py


@pytest.fixture
def published(tmp_path):
    """A cohort with the columns of the published one, put into the cache by hand."""
    adata = sg.datasets.simulated_cohort(n_samples=4, n_cells=20, rng=0)
    adata.obs = adata.obs.rename(columns={"sample": "donor_id", "label": "disease"})
    adata.write_h5ad(tmp_path / FILE)
    return adata


def test_all_cells_of_the_file(published, tmp_path):
    adata = sg.datasets.kidney_cohort(cache_dir=tmp_path)
    assert adata.shape == published.shape
    assert (adata.X != published.X).nnz == 0
    assert list(adata.obs.columns) == list(published.obs.columns)


def test_columns_are_the_ones_to_learn_from(published, tmp_path):
    adata = sg.datasets.kidney_cohort(cache_dir=tmp_path)
    assert sg.pp.filter_samples(adata, "donor_id", "disease") is None
    assert adata.obs["donor_id"].nunique() == 4


def test_lacking_label(published, tmp_path):
    del published.obs["disease"]
    published.write_h5ad(tmp_path / FILE)
    with pytest.raises(KeyError, match="has no column 'disease' in obs"):
        sg.datasets.kidney_cohort(cache_dir=tmp_path)
