"""Every parameter of a learner, its refinement and its solver has an effect, and a bad value is refused."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

from scggml import GroundMetricLearner, Refinement, Sinkhorn
from scggml.core.metric._options import TrainingOptions

LABELS = np.arange(12) % 3


def make_samples(seed):
    rng = np.random.default_rng(seed)
    shift = [[label, 0.3 * label, 0] + rng.normal(scale=0.5, size=3) for label in LABELS]
    return [(rng.normal(size=(rng.integers(5, 9), 3)) + x) * [1, 2, 5] for x in shift]


X, NEW = make_samples(0), make_samples(1)
REFINED = {"max_iter": 3, "tol": 0.0, "margin": 1.0}


def fitted(learner=None, refine=None, sinkhorn=None):
    params = dict(learner or {})
    if refine is not None:
        params["refine"] = Refinement(**refine)
    if sinkhorn is not None:
        params["solver"] = Sinkhorn(**sinkhorn)
    return GroundMetricLearner(**{"rng": 0, "n_jobs": 1} | params).fit(X, LABELS)


# one parameter: its other settings, and two of its values with different results
LEARNER = {
    "label_kind": ({}, "class", "ordinal"),
    "n_comps": ({}, None, 1),
    "scale": ({}, "feature", "global"),
    "n_sweeps": ({}, 1, 2),
    "ridge": ({}, "auto", 1.0),
    "power": ({}, 1.0, 2.0),
    "whitening": ({}, 1.0, 0.5),
    "max_cells": ({}, "auto", 3),
    "solver": ({}, "exact", Sinkhorn(reg=0.3)),
    "refine": ({}, None, Refinement(max_iter=3, margin=1.0)),
    "rng": ({"refine": Refinement("random", max_iter=2)}, 0, 1),
}
REFINEMENT = {
    "start": (REFINED, "discriminant", "random"),
    "margin": (REFINED, 0.25, 1.0),
    "reg": (REFINED, 0.1, 3.0),
    "regularizer": (REFINED | {"reg": 3.0}, "frobenius", "l1"),
    "relative": (REFINED, True, False),
    "triplets": (REFINED, "auto", 1),
    "minibatch": (REFINED, None, 20),
    "lr": (REFINED, 0.02, 0.1),
    "max_cells": (REFINED, 100, 3),
    "max_iter": (REFINED, 2, 5),
    "tol": (REFINED | {"max_iter": 5}, 0.0, 10.0),
}
SINKHORN = {"reg": ({}, 0.05, 0.5), "debiased": ({"reg": 0.3}, False, True)}
SAME_RESULT = {"n_jobs", "device"}  # where it is computed

REFUSED = [
    ({"n_comps": 0}, ValueError, "n_comps must be at least 1, found 0"),
    ({"n_comps": 2.5}, TypeError, "n_comps must be an integer, found 2.5"),
    ({"n_comps": True}, TypeError, "n_comps must be an integer, found True"),
    ({"n_comps": 4}, ValueError, "n_comps must be at most 3, the number of features, found 4"),
    ({"refine": Refinement(margin=-1)}, ValueError, "margin of Refinement must be finite and at least 0, found -1"),
    ({"refine": Refinement(margin="1")}, TypeError, "margin of Refinement must be a number, found '1'"),
    ({"refine": Refinement(reg=-0.1)}, ValueError, "reg of Refinement must be finite and at least 0, found -0.1"),
    ({"refine": Refinement(reg=np.inf)}, ValueError, "reg of Refinement must be finite"),
    ({"ridge": -1}, ValueError, "ridge must be finite and at least 0, found -1"),
    ({"ridge": "automatic"}, ValueError, "ridge must be .*auto.*found 'automatic'"),
    ({"power": -1}, ValueError, "power must be"),
    ({"whitening": 1.1}, ValueError, "whitening must be .*at most 1, found 1.1"),
    ({"refine": Refinement(tol=np.nan)}, ValueError, "tol of Refinement must be finite"),
    ({"refine": Refinement(lr=0)}, ValueError, "lr of Refinement must be finite and greater than 0, found 0"),
    ({"refine": Refinement(max_iter=0)}, ValueError, "max_iter of Refinement must be at least 1, found 0"),
    ({"refine": Refinement(max_iter=3.0)}, TypeError, "max_iter of Refinement must be an integer"),
    ({"n_sweeps": 0}, ValueError, "n_sweeps must be at least 1"),
    ({"refine": Refinement(minibatch=0)}, ValueError, "minibatch of Refinement must be at least 1"),
    ({"refine": Refinement(max_cells=1)}, ValueError, "max_cells of Refinement must be at least 2"),
    ({"refine": Refinement(triplets=0)}, ValueError, "triplets of Refinement must be at least 1"),
    (
        {"refine": Refinement(triplets="some")},
        ValueError,
        "triplets of Refinement must be 'auto', 'all' or a number, found 'some'",
    ),
    ({"scale": "standard"}, ValueError, "scale must be one of .*feature, global, None, found 'standard'"),
    (
        {"refine": Refinement(start="pca")},
        ValueError,
        "start of Refinement must be one of discriminant, random, found 'pca'",
    ),
    (
        {"refine": Refinement(regularizer="l2")},
        ValueError,
        "regularizer of Refinement must be one of frobenius, l1, l21, nuclear, max_column_sum",
    ),
    ({"refine": Refinement(relative=1)}, TypeError, "relative of Refinement must be True or False, found 1"),
    ({"label_kind": "number"}, ValueError, "label_kind must be one of class, ordinal, continuous, found 'number'"),
    ({"max_cells": 1}, ValueError, "max_cells must be at least 2, found 1"),
    ({"max_cells": "all"}, ValueError, "max_cells must be 'auto', None or a number, found 'all'"),
    ({"solver": "sinkhorn"}, ValueError, r"solver must be one of exact, pot or a scggml.Sinkhorn.*found 'sinkhorn'"),
    ({"solver": Sinkhorn}, ValueError, "solver must be one of exact, pot"),
    (
        {"solver": Sinkhorn(reg=0)},
        ValueError,
        "reg of Sinkhorn must be finite and greater than 0 and at most 1000, found 0",
    ),
    ({"solver": Sinkhorn(reg="0.1")}, TypeError, "reg of Sinkhorn must be a number, found '0.1'"),
    ({"solver": Sinkhorn(debiased=1)}, TypeError, "debiased of Sinkhorn must be True or False, found 1"),
    ({"solver": Sinkhorn(device="abacus")}, ValueError, "device of Sinkhorn must be None or one of .*found 'abacus'"),
    ({"refine": True}, TypeError, r"refine must be None or a scggml.Refinement.*found True"),
    ({"rng": "seed"}, TypeError, "rng must be"),
    ({"rng": -1}, ValueError, "rng must be a seed .* found -1"),
    ({"n_jobs": 0}, ValueError, "n_jobs must not be 0"),
    ({"n_jobs": 1.5}, TypeError, "n_jobs must be an integer"),
]

CASES = [
    pytest.param(part, name, *case, id=f"{part}-{name}")
    for part, cases in (("learner", LEARNER), ("refine", REFINEMENT), ("sinkhorn", SINKHORN))
    for name, case in cases.items()
]


@pytest.mark.parametrize(("part", "name", "others", "value", "another"), CASES)
def test_another_value_changes_the_metric_and_its_distances(part, name, others, value, another):
    one, same, other = (fitted(**{part: others | {name: v}}) for v in (value, value, another))
    np.testing.assert_array_equal(one.components_, same.components_)
    distances, changed = one.pairwise_distances(NEW), other.pairwise_distances(NEW)
    np.testing.assert_array_equal(distances, same.pairwise_distances(NEW))
    unit = np.median(distances) / np.median(changed)  # more than another unit of distance
    assert np.abs(unit * changed - distances).max() > 1e-3 * distances.max()


def test_solver_of_pot_gives_the_same_distances():
    one, other = fitted(), fitted({"solver": "pot"})
    assert other.solver_.method == "pot"
    np.testing.assert_allclose(other.pairwise_distances(NEW), one.pairwise_distances(NEW), rtol=1e-9)


@pytest.mark.parametrize("n_jobs", [2, None])
def test_jobs_do_not_change_a_bit(n_jobs):
    for options in ({}, {"refine": REFINED | {"minibatch": 20}}, {"sinkhorn": {"reg": 0.3, "device": "cpu"}}):
        one, other = fitted(**options), fitted({"n_jobs": n_jobs}, **options)
        np.testing.assert_array_equal(other.components_, one.components_)
        np.testing.assert_array_equal(other.pairwise_distances(NEW), one.pairwise_distances(NEW))


def test_device_does_not_change_distances():
    one, other = (fitted(sinkhorn={"reg": 0.3, "device": device}) for device in ("cpu", None))
    assert (one.solver_.device, other.solver_.device) == ("cpu", None)
    np.testing.assert_allclose(other.pairwise_distances(NEW), one.pairwise_distances(NEW), rtol=1e-4)


def test_every_parameter_has_a_case():
    refused = {name for options, *_ in REFUSED for name in _names(options)}
    parameters = {
        "learner": (LEARNER, set(inspect.signature(GroundMetricLearner).parameters)),
        "refine": (REFINEMENT, {field.name for field in dataclasses.fields(Refinement)}),
        "sinkhorn": (SINKHORN, {field.name for field in dataclasses.fields(Sinkhorn)}),
    }
    for part, (cases, names) in parameters.items():
        assert set(cases) == names - SAME_RESULT, part
        assert {(part, name) for name in names} <= refused, part


def _names(options):
    """The part and name of each parameter that a case of `REFUSED` sets to a value that differs from its default."""
    for name, value in options.items():
        yield "learner", name
        if isinstance(value, Refinement | Sinkhorn):
            part = "refine" if name == "refine" else "sinkhorn"
            for field in dataclasses.fields(value):
                if getattr(value, field.name) is not field.default:
                    yield part, field.name


def test_every_option_of_training_is_a_parameter_with_the_same_default():
    parameters = inspect.signature(GroundMetricLearner).parameters
    for name, field in TrainingOptions.__dataclass_fields__.items():
        assert parameters[name].default == {"scale": "auto", "solver": "exact"}.get(name, field.default), name


@pytest.mark.parametrize(
    ("options", "error", "text"),
    REFUSED,
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_parameters_are_refused_before_any_work(monkeypatch, options, error, text):
    def work(*args, **kwargs):
        pytest.fail("work began")

    monkeypatch.setattr("scggml.estimators._ground_metric.train", work)
    learner = GroundMetricLearner(**options)
    with pytest.raises(error, match=text):
        learner.fit(X, LABELS)
    assert not hasattr(learner, "metric_")


@pytest.mark.parametrize(
    ("options", "name", "why"),
    [
        ({"n_sweeps": 2}, "n_sweeps", "computes no closed form"),
        ({"ridge": 0.1}, "ridge", "computes no closed form"),
        ({"power": 2.0}, "power", "computes no closed form"),
        ({"whitening": 0.5}, "whitening", "computes no closed form"),
        ({"max_cells": 50}, "max_cells", "computes no closed form"),
        ({"refine": Refinement(reg=0, regularizer="l1")}, "regularizer", "reg=0"),
        ({"refine": Refinement(max_iter=1, minibatch=20, tol=0.5)}, "tol", "max_iter=1"),
        ({"refine": Refinement(max_iter=1)}, "max_iter", "takes no step"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_that_would_have_no_effect_are_refused(options, name, why):
    learner = GroundMetricLearner(**{"refine": Refinement("random")} | options)
    with pytest.raises(ValueError, match=f"^{name}=.*{why}"):
        learner.fit(X, LABELS)


def test_wide_samples_take_neither_powers_nor_dense_plans():
    wide = [np.random.default_rng(i).normal(size=(3, 3001)) for i in range(4)]
    for options, text in (
        ({"power": 2.0}, "power=2 needs a matrix"),
        ({"solver": Sinkhorn()}, "solver=Sinkhorn.*3000"),
    ):
        with pytest.raises(ValueError, match=text):
            GroundMetricLearner(**options).fit(wide, [0, 1, 0, 1])
