from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scggml as sg


@pytest.fixture(scope="module")
def whole():
    return sg.datasets.synthetic_cohort(n_points_per_mode=4, rng=0)


@pytest.fixture
def adata(whole):
    return whole.copy()


def shuffled(adata, seed):
    """The same samples with labels given out at random."""
    labels = adata.obs.groupby("sample", observed=True)["label"].first().astype(str)
    given = dict(zip(labels.index, np.random.default_rng(seed).permutation(labels), strict=True))
    adata.obs["label"] = adata.obs["sample"].astype(str).map(given).astype("category")
    return adata


def test_classes_that_differ_are_found(adata, tmp_path):
    table = sg.tl.separation_test(adata, "sample", "label", n_permutations=99, rng=0)
    assert table.index.tolist() == ["learned", "euclidean", "permanova"]
    assert table.loc["learned", "p_value"] == 0.01  # none of 99 does as well
    assert (table["n_permutations"] == 99).all() and not table["exact"].any()
    entry = adata.uns["ggml_separation"]
    assert entry["null"].shape == (99, 3)
    np.testing.assert_allclose(entry["null"].mean(axis=0), table["null_mean"])
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad").uns["ggml_separation"]["table"]
    pd.testing.assert_frame_equal(again, table)


def test_labels_at_random_are_not(adata):
    table = sg.tl.separation_test(shuffled(adata, 3), "sample", "label", n_permutations=99, rng=0)
    assert (table["p_value"] > 0.05).all()


def test_same_seed_same_result_whatever_n_jobs(adata):
    one, two = (sg.tl.separation_test(adata, "sample", "label", n_permutations=19, rng=0, n_jobs=n) for n in (1, 2))
    pd.testing.assert_frame_equal(one, two)


def test_too_few_permutations_are_warned_about(adata):
    kept = [s for c in (0, 1) for s in adata.obs.loc[adata.obs["label"].cat.codes == c, "sample"].unique()[:3]]
    small = adata[adata.obs["sample"].isin(kept)].copy()
    small.obs["pair"] = (small.obs["sample"].cat.remove_unused_categories().cat.codes % 3).astype(str)
    with pytest.warns(UserWarning, match=r"only 8 permutations .* are possible.*: no p-value can be below 0.25"):
        table = sg.tl.separation_test(small, "sample", "label", donor_key="pair", rng=0)
    assert table["exact"].all() and (table["n_permutations"] == 8).all()
    assert (table["p_value"] >= 0.25).all()


def test_the_number_of_cells_is_not_taken_for_a_difference():
    rng = np.random.default_rng(0)
    sizes = np.tile([10, 60], 8)
    x = np.concatenate([rng.normal(size=(n, 4)) for n in sizes])
    obs = pd.DataFrame(
        {"sample": np.repeat([f"s{i:02d}" for i in range(16)], sizes), "label": np.repeat(["a", "b"] * 8, sizes)},
        index=[f"c{i}" for i in range(len(x))],
    )
    adata = anndata.AnnData(obs=obs, obsm={"X_pca": x})
    with pytest.warns(UserWarning, match="number of cells depends on the class"):
        of_all = sg.tl.separation_test(adata, "sample", "label", n_permutations=99, n_cells=None, rng=0)
    assert of_all.loc["euclidean", "p_value"] < 0.05
    equal = sg.tl.separation_test(adata, "sample", "label", n_permutations=99, rng=0)
    assert (equal["p_value"] > 0.05).all()


def test_nothing_to_test(adata):
    flat = adata.copy()
    flat.X = np.ones(flat.shape)
    with pytest.raises(ValueError, match="no feature of X varies"):
        sg.tl.separation_test(flat, "sample", "label", use_rep="X")
    position = adata.obs.groupby("sample", observed=True).cumcount().to_numpy()
    adata.X = np.stack([position, position**2], axis=1) / 2
    with pytest.raises(ValueError, match="all samples hold the same cells"):
        sg.tl.separation_test(adata, "sample", "label", use_rep="X", n_cells=None)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n_cells": 1}, ValueError, "n_cells must be at least 2"),
        ({"n_cells": "all"}, ValueError, "n_cells must be 'equal', None or a number of cells, found 'all'"),
        ({"n_permutations": 10}, ValueError, "n_permutations must be at least 19"),
        ({"n_permutations": 9.5}, TypeError, "n_permutations must be an integer"),
        ({"donor_key": "none"}, KeyError, "donor_key='none'"),
        ({"batch_key": "label"}, ValueError, "are confounded"),
        ({"use_rep": "none"}, KeyError, "none"),
    ],
)
def test_bad_input(adata, options, error, text):
    with pytest.raises(error, match=text):
        sg.tl.separation_test(adata, "sample", "label", **options)
    assert "ggml_separation" not in adata.uns


def test_each_class_needs_three_samples(adata):
    label = adata.obs["label"].cat.categories[0]
    of_class = adata.obs.loc[adata.obs["label"] == label, "sample"].unique()
    few = adata[~adata.obs["sample"].isin(of_class[2:])].copy()
    with pytest.raises(ValueError, match="each class needs at least 3 samples"):
        sg.tl.separation_test(few, "sample", "label")
