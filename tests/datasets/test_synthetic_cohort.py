from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scggml.datasets import synthetic_cohort
from scggml.datasets._synthetic_cohort import draw_cohort

CLASS_MEANS = (5.0, 10.0, 15.0)
OFFSETS = 1.5 + 3.0 * np.arange(10)
SD = 1.5
UNIFORM_VARIANCE = 5.0**2 / 12


def assert_same(left, right):
    for name in ("obs", "var"):
        pd.testing.assert_frame_equal(getattr(left, name), getattr(right, name))
    assert left.X.dtype == right.X.dtype
    assert np.array_equal(left.X, right.X)
    assert_same_value(left.uns.copy(), right.uns.copy())


def assert_same_value(left, right):
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key, value in left.items():
            assert_same_value(value, right[key])
    else:
        np.testing.assert_array_equal(left, right)


def points(adata, label, mode, sample=None):
    rows = (adata.obs["label"] == label) & (adata.obs["mode"] == mode)
    if sample is not None:
        rows &= adata.obs["sample"] == sample
    return adata.X[rows.to_numpy()].astype(float)


def assert_mean_and_variance(values, mean, variance, excess_kurtosis):
    """Within five standard errors, as known for the distribution."""
    n = len(values)
    assert abs(values.mean() - mean) < 5 * np.sqrt(variance / n)
    se = variance * np.sqrt((excess_kurtosis + 2) / n)
    assert abs(values.var(ddof=1) - variance) < 5 * se


@pytest.mark.parametrize(("preset", "n_noise", "scale"), [("synth_2d", 1, 1000.0), ("synth_200d", 199, 1.0)])
def test_preset_closed_form(preset, n_noise, scale):
    adata = synthetic_cohort(preset, rng=0)
    assert adata.shape == (30 * 300, 1 + n_noise)
    for c, mean in enumerate(CLASS_MEANS):
        label = f"class_{c}"
        signal = points(adata, label, "own")[:, 0]
        assert_mean_and_variance(signal, 1.25 * (10 + mean), (1.25 * SD) ** 2, 0)
        for mode, signal_mean, noise_mean in [("shared_0", 0, 0), ("shared_1", 40, 50)]:
            x = points(adata, label, mode)
            assert_mean_and_variance(x[:, 0], 1.25 * signal_mean, (1.25 * SD) ** 2, 0)
            assert_mean_and_variance(x[:, 1:].ravel(), scale * noise_mean, (scale * SD) ** 2, 0)
        for j, offset in enumerate(OFFSETS):
            noise = points(adata, label, "own", f"class{c}_{j:02d}")[:, 1:].ravel()
            assert noise.min() >= scale * (7.5 + offset)
            assert noise.max() <= scale * (12.5 + offset)
            assert_mean_and_variance(noise, scale * (10 + offset), scale**2 * UNIFORM_VARIANCE, -1.2)


def test_every_sample_has_three_equal_modes_and_one_label():
    adata = synthetic_cohort(n_points_per_mode=7, rng=0)
    sizes = adata.obs.groupby(["sample", "mode"], observed=True).size()
    assert len(sizes) == 90
    assert (sizes == 7).all()
    assert (adata.obs.groupby("sample", observed=True)["label"].nunique() == 1).all()
    assert (adata.obs.groupby("label", observed=True)["sample"].nunique() == 10).all()
    assert adata.obs_names.is_unique
    assert adata.X.dtype == np.float32
    assert list(adata.obs["sample"].cat.categories[:2]) == ["class0_00", "class0_01"]
    assert list(adata.obs["mode"].cat.categories) == ["own", "shared_0", "shared_1"]


def test_names_stay_ordered_and_unique_with_many_samples():
    adata = draw_cohort(
        None, class_means=range(11), offsets=range(101), n_points_per_mode=1, n_noise_dims=1, noise_scale=1, rng=0
    )
    assert adata.obs["label"].cat.categories[-1] == "class_10"
    assert adata.obs["sample"].nunique() == 11 * 101
    assert adata.obs["sample"].cat.categories[0] == "class0_000"


def test_seed_decides_the_draw():
    kwargs = {"n_points_per_mode": 5}
    first = synthetic_cohort(**kwargs, rng=3)
    assert_same(first, synthetic_cohort(**kwargs, rng=3))
    assert_same(first, synthetic_cohort(**kwargs, rng=np.random.default_rng(3)))
    assert not np.isin(first.X[:, 0], synthetic_cohort(**kwargs, rng=4).X[:, 0]).any()


def test_a_generator_that_goes_on_gives_another_draw():
    rng = np.random.default_rng(0)
    first, second = (synthetic_cohort(n_points_per_mode=5, rng=rng).X for _ in range(2))
    assert not np.isin(first[:, 0], second[:, 0]).any()


def test_samples_are_independent_draws():
    x = points(synthetic_cohort(rng=0), "class_0", "shared_0")[:, 0].reshape(10, 100)
    correlation = np.corrcoef(x)[np.triu_indices(10, 1)]
    assert np.abs(correlation).max() < 0.45  # 4.5 standard errors of 100 pairs


def test_no_global_state():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    synthetic_cohort(n_points_per_mode=1, rng=0)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_explicit_values_override_the_preset():
    adata = synthetic_cohort("synth_2d", n_noise_dims=3, n_points_per_mode=5, rng=0)
    assert list(adata.var_names) == ["signal", "noise_0", "noise_1", "noise_2"]
    assert adata.uns["synthetic_cohort"]["noise_scale"] == 1000
    unscaled = synthetic_cohort("synth_2d", n_noise_dims=3, noise_scale=1, n_points_per_mode=5, rng=0)
    assert unscaled.uns["synthetic_cohort"]["noise_scale"] == 1
    np.testing.assert_allclose(adata.X[:, 1:], 1000 * unscaled.X[:, 1:], rtol=1e-6)
    np.testing.assert_array_equal(adata.X[:, 0], unscaled.X[:, 0])


def test_defaults_without_a_preset():
    settings = synthetic_cohort(n_points_per_mode=1, rng=0).uns["synthetic_cohort"]
    assert settings["preset"] == "custom"
    assert (settings["n_noise_dims"], settings["noise_scale"], settings["n_points_per_mode"]) == (1, 1.0, 1)
    np.testing.assert_array_equal(settings["class_means"], CLASS_MEANS)
    np.testing.assert_array_equal(settings["offsets"], OFFSETS)


def test_signal_does_not_depend_on_the_number_of_noise_features():
    signals = [synthetic_cohort(n_noise_dims=n, n_points_per_mode=5, rng=0).X[:, 0] for n in (0, 1, 20)]
    np.testing.assert_array_equal(signals[0], signals[1])
    np.testing.assert_array_equal(signals[0], signals[2])


def test_settings_do_not_alias_the_arguments():
    offsets = np.array([1.0, 2.0])
    adata = synthetic_cohort(offsets=offsets, n_points_per_mode=1, rng=0)
    offsets[0] = 99
    assert adata.uns["synthetic_cohort"]["offsets"][0] == 1


@pytest.mark.parametrize("fmt", ["h5ad", "zarr"])
@pytest.mark.parametrize("preset", [None, "synth_200d"])
@pytest.mark.filterwarnings("ignore:.*[zZ]arr.*")  # anndata announces the next zarr format
def test_round_trip(tmp_path, fmt, preset):
    adata = synthetic_cohort(preset, n_points_per_mode=2, rng=0)
    path = tmp_path / f"cohort.{fmt}"
    getattr(adata, f"write_{fmt}")(path)
    assert_same(adata, getattr(ad, f"read_{fmt}")(path))


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"preset": "synth_3d"}, ValueError, "preset must be one of synth_2d, synth_200d, found 'synth_3d'"),
        ({"offsets": ()}, ValueError, r"offsets must be a non-empty.*found \(\)"),
        ({"offsets": (1.0, np.nan)}, ValueError, "offsets must be .* finite numbers, found .*nan"),
        ({"offsets": 5.0}, ValueError, "offsets must be a non-empty, one-dimensional.* found 5.0"),
        ({"offsets": [[1.0]]}, ValueError, r"offsets must be .* one-dimensional.*found \[\[1.0\]\]"),
        ({"offsets": "abc"}, ValueError, "offsets must be a sequence of numbers, found 'abc'"),
        ({"n_points_per_mode": 0}, ValueError, r"n_points_per_mode must be at least 1, found 0"),
        ({"n_points_per_mode": 2.0}, TypeError, r"n_points_per_mode must be an integer, found 2.0"),
        ({"n_noise_dims": -1}, ValueError, r"n_noise_dims must be at least 0, found -1"),
        ({"n_noise_dims": True}, TypeError, r"n_noise_dims must be an integer, found True"),
        ({"noise_scale": 0}, ValueError, r"noise_scale must be finite and greater than 0, found 0"),
        ({"noise_scale": np.inf}, ValueError, r"noise_scale must be finite and greater than 0, found inf"),
        ({"noise_scale": "1"}, TypeError, r"noise_scale must be a number, found '1'"),
    ],
)
def test_bad_arguments(kwargs, error, match):
    with pytest.raises(error, match=match):
        synthetic_cohort(**kwargs)
