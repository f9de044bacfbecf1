from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

import scggml as sg


@pytest.fixture(scope="module")
def evaluated():
    adata = sg.datasets.synthetic_cohort(n_points_per_mode=3, rng=0)
    adata.obs["age"] = adata.obs["sample"].cat.codes.astype(float)
    sg.tl.cross_validate(adata, "sample", "label", methods=["ggml", "pseudobulk"], cv=3, rng=0)
    sg.tl.cross_validate(
        adata, "sample", "age", label_kind="continuous", methods=["euclidean"], cv=3, rng=0, key_added="age"
    )
    return adata


@pytest.fixture(scope="module")
def mapped():
    adata = sg.datasets.synthetic_cohort(n_points_per_mode=5, rng=0)
    is_new = adata.obs["sample"].str.endswith("_06")
    old, new = adata[~is_new].copy(), adata[is_new].copy()
    sg.tl.fit_metric(old, "sample", "label", rng=0)
    reference = sg.tl.make_reference(old, sg.tl.sample_distances(old), cv=3, rng=0)
    mapped = sg.tl.map_samples(new, reference)
    sg.tl.predict_samples(mapped)
    return mapped


def test_held_out_predictions(evaluated):
    table = sg.get.predictions(evaluated)
    stored = evaluated.uns["ggml_cross_validation"]["predictions"]
    assert len(table) == len(stored) and table.attrs["label_key"] == "label"
    scores = sg.get.scores(evaluated).query("score == 'accuracy'").set_index(["method", "classifier"])["value"]
    for names, part in table.groupby(["method", "classifier"]):
        assert part["correct"].mean() == pytest.approx(accuracy_score(part["label"], part["predicted"]))
        assert part["correct"].mean() == pytest.approx(scores[names])
    columns = ["score: class_0", "score: class_1", "score: class_2"]
    best = table[columns].to_numpy().argmax(axis=1)
    assert (np.array(["class_0", "class_1", "class_2"])[best] == table["predicted"]).all()
    assert "correct" not in stored  # a copy


def test_continuous_labels(evaluated):
    table = sg.get.predictions(evaluated, key="age")
    assert "correct" not in table and table.attrs["label_key"] == "age"
    np.testing.assert_array_equal(table["value"], table["label"].astype(float))


def test_new_samples(mapped):
    table = sg.get.predictions(mapped)
    assert list(table.index) == list(mapped.obs_names[~mapped.obs["is_reference"]])
    columns = ["probability: class_0", "probability: class_1", "probability: class_2"]
    np.testing.assert_allclose(table[columns].sum(axis=1), 1)
    np.testing.assert_array_equal(table[columns], mapped.obsm["ggml_probabilities"][~mapped.obs["is_reference"]])
    assert (table["predicted"].astype(str) == [f"class_{name[5]}" for name in table.index]).all()
    assert list(table["label"].astype(str)) == list(mapped.obs.loc[table.index, "label"].astype(str))
    assert table.attrs["label_key"] == "label" and table["outlier"].dtype == bool


def test_nothing_was_predicted(cohort, mapped):
    with pytest.raises(KeyError, match=r"no cross-validation in uns\['ggml_cross_validation'\].*sg.tl.cross_validate"):
        sg.get.predictions(cohort)
    damaged = mapped.copy()
    del damaged.obs["predicted"]
    with pytest.raises(KeyError, match=r"obs\['predicted'\], which sg.tl.predict_samples writes"):
        sg.get.predictions(damaged)
    damaged = mapped.copy()
    damaged.obsm["ggml_probabilities"] = damaged.obsm["ggml_probabilities"][:, :2]
    with pytest.raises(ValueError, match=r"obsm\['ggml_probabilities'\] must hold 3 x 3"):
        sg.get.predictions(damaged)


def test_results_of_an_earlier_label_are_named(evaluated):
    adata = evaluated.copy()
    sg.tl.fit_metric(adata, "sample", "age", label_kind="continuous", rng=0)
    for read in (sg.get.predictions, sg.get.scores, sg.pl.predictions, sg.pl.cross_validation):
        with pytest.warns(
            UserWarning, match="label_key='label', but the metric .* learned from 'age'. Run sg.tl.cross"
        ):
            read(adata)
    assert sg.get.scores(evaluated).attrs["label_key"] == "label"
