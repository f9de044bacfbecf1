from __future__ import annotations

import pandas as pd
import pytest

import scggml as sg


@pytest.fixture(scope="module")
def tested():
    adata = sg.datasets.synthetic_cohort(n_points_per_mode=3, rng=0)
    return adata, sg.tl.separation_test(adata, "sample", "label", n_permutations=19, rng=0)


def test_the_table_is_that_of_the_test_and_names_the_label(tested):
    adata, table = tested
    found = sg.get.separation(adata)
    pd.testing.assert_frame_equal(found, table)
    assert found.index.name == "test" and found.attrs["label_key"] == "label"
    found.iloc[0, 0] = -1  # a copy
    pd.testing.assert_frame_equal(sg.get.separation(adata), table)


def test_no_test(tested):
    adata, _ = tested
    with pytest.raises(KeyError, match=r"no permutation test in uns\['mine_separation'\].*sg.tl.separation_test"):
        sg.get.separation(adata, key="mine")
    damaged = adata.copy()
    damaged.uns["ggml_separation"] = {**adata.uns["ggml_separation"], "null": [[1.0, 2.0]]}
    with pytest.raises(ValueError, match=r"uns\['ggml_separation'\]\['null'\] must hold"):
        sg.get.separation(damaged)


def test_results_of_an_earlier_label_are_named(tested):
    adata = tested[0].copy()
    of_sample = adata.obs.drop_duplicates("sample").set_index("sample")["label"]
    other = {name: f"site {i % 2}" for i, name in enumerate(of_sample.index)}
    adata.obs["site"] = adata.obs["sample"].astype(str).map(other).astype("category")
    sg.tl.fit_metric(adata, "sample", "site", rng=0)
    for read in (sg.get.separation, sg.pl.separation):
        with pytest.warns(
            UserWarning, match="label_key='label', but the metric .* learned from 'site'. Run sg.tl.separ"
        ):
            read(adata)
