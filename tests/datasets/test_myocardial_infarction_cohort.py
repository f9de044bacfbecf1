from __future__ import annotations

import pytest

import scggml as sg

FILE = "c1f6034b-7973-45e1-85e7-16933d0550bc.h5ad"  # downloads are tested in test_downloads.py


@pytest.fixture
def published(tmp_path):
    """A cohort with the columns of the published one, put into the cache by hand."""
    adata = sg.datasets.simulated_cohort(n_samples=4, n_cells=20, rng=0)
    adata.obs = adata.obs.rename(columns={"sample": "sample", "label": "patient_group"})
    adata.write_h5ad(tmp_path / FILE)
    return adata


def test_all_cells_of_the_file(published, tmp_path):
    adata = sg.datasets.myocardial_infarction_cohort(cache_dir=tmp_path)
    assert adata.shape == published.shape
    assert (adata.X != published.X).nnz == 0
    assert list(adata.obs.columns) == list(published.obs.columns)


def test_columns_are_the_ones_to_learn_from(published, tmp_path):
    adata = sg.datasets.myocardial_infarction_cohort(cache_dir=tmp_path)
    assert sg.pp.filter_samples(adata, "sample", "patient_group") is None
    assert adata.obs["sample"].nunique() == 4


def test_lacking_label(published, tmp_path):
    del published.obs["patient_group"]
    published.write_h5ad(tmp_path / FILE)
    with pytest.raises(KeyError, match="has no column 'patient_group' in obs"):
        sg.datasets.myocardial_infarction_cohort(cache_dir=tmp_path)
