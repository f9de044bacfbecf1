"""Calls with generated arguments: each works as annotated, or ends in a clear error and leaves everything as it was.

`python tests/test_generated_calls.py [n_calls] [seed]` runs more of them, all if no number is given, and prints what
went wrong.
"""

from __future__ import annotations

import collections
import datetime
import importlib
import inspect
import logging
import os
import sys
import tempfile
import traceback
import types
import typing
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from calls import build_calls
from matplotlib.axes import Axes
from mudata import MuData

import scggml as sg

PACKAGE = str(Path(sg.__file__).parent)
N_CALLS = 1500
SLOTS = ("obs", "uns", "varm", "X", "class", "samples")
LONGEST = 1500  # characters of a message
ERRORS = (TypeError, ValueError, KeyError, FileNotFoundError)

VALUES: dict[str, Callable[[], Any]] = {
    text: eval(f"lambda: {text}", {"np": np, "pd": pd, "AnnData": AnnData, "Path": Path, "datetime": datetime})
    for text in (
        "None", "True", "False", "0", "1", "-1", "2", "10**30", "-10**30", "1e30", "1.5", "-0.5", "float('nan')",
        "float('inf')", "3 + 1j", "'x'", "''", "' '", "'sample'", "'label'", "'X'", "'a/b'", "'a' * 9999", "'\\0'", "b'x'",
        "[]", "[1]", "['x']", "['x', 'y']", "('x', 'x')", "[None]", "{}", "{'x': 1}", "{1: 'x'}", "set()", "[[1, 2], [3]]",
        "np.array(3)", "np.array('x')", "np.zeros(3)", "np.zeros((2, 2))", "np.int64(3)", "np.float32(0.5)",
        "np.bool_(True)", "np.str_('x')", "np.ma.masked_array([1, 2], [0, 1])", "np.datetime64('2026-01-01')",
        "np.random.RandomState(0)", "pd.Series([1, 2])", "pd.DataFrame({'a': [1]})", "pd.NA", "pd.Index(['x', 'y'])",
        "AnnData(np.zeros((3, 2)))", "AnnData()", "object()", "lambda: 1", "int", "np", "Ellipsis", "Exception('x')",
        "datetime.date(2026, 1, 1)", "Path('x')", "iter([1])", "range(3)",
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def calls(_cohort, _fitted, _pdata):
    return build_calls(_cohort, _fitted, _pdata)


def hints(function: Callable) -> dict[str, Any]:
    """The annotations of the parameters; names that are imported for type checkers only are found where they live."""
    module = importlib.import_module(function.__module__)
    names = {
        **vars(typing), **vars(collections.abc), "os": os, "np": np, "pd": pd, "AnnData": AnnData, "MuData": MuData,
        "Axes": Axes, "NDArray": Sequence, "Samples": Any, "GroundMetricLearner": sg.GroundMetricLearner,
        "Sinkhorn": sg.Sinkhorn, "Refinement": sg.Refinement, "LabelKind": Literal["class", "ordinal", "continuous"],
        "Preset": Literal["discriminant", "triplet", "paper"],
        "Regularizer": Literal["frobenius", "l1", "l21", "nuclear", "max_column_sum"],
        "Start": Literal["discriminant", "random"],
    }  # fmt: skip
    signature = inspect.signature(function)
    return {p.name: eval(str(p.annotation), {**names, **vars(module)}) for p in signature.parameters.values()}


def admits(hint: Any, value: Any) -> bool:
    """Whether an annotation admits a value; arrays and other collections of the right items pass as sequences."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin in (typing.Union, types.UnionType):
        return any(admits(part, value) for part in inner)
    if origin is Literal:
        return any(type(value) is type(known) and value == known for known in inner)
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool | np.bool_)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(admits(inner[0], k) and admits(inner[1], v) for k, v in value.items())
    if origin is not None and issubclass(origin, Collection):
        is_list = isinstance(value, Sequence | Collection) and not isinstance(value, str | bytes | Mapping)
        return is_list and all(admits(inner[0], item) for item in getattr(value, "flat", value))
    return isinstance(value, origin or hint)


def faults(
    name: str, function: Callable, base: dict[str, Any], argument: str, text: str, compare: Callable
) -> list[str]:
    """What is wrong with the outcome of one call."""
    from matplotlib import pyplot as plt

    value, hint = VALUES[text](), hints(function)[argument]
    if name.startswith("datasets.") and name.endswith("_cohort") and not base and admits(hint, value):
        return []  # would download
    owned = {key: given for key, given in base.items() if isinstance(given, AnnData | MuData)}
    found, given = [], dict(base)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given |= {**{key: data.copy() for key, data in owned.items()}, argument: value}
            function(**given)
    except ERRORS as error:
        frames = traceback.extract_tb(error.__traceback__)
        message = str(error.args[0]) if error.args else ""
        if not frames[-1].filename.startswith(PACKAGE):
            found.append(f"foreign {type(error).__name__} from {frames[-1].filename}: {message[:200]}")
        # a value of the right type may be wrong for others, or for the data
        elif not any(
            word in message for word in ([argument] if not admits(hint, value) else [*hints(function), *SLOTS])
        ):
            found.append(f"{type(error).__name__} does not name it: {message[:200]}")
        if len(message) > LONGEST:
            found.append(f"a message of {len(message)} characters")
        for key, data in owned.items():
            if isinstance(data, AnnData) and key != argument:
                try:
                    compare(data, given[key])
                except AssertionError as difference:
                    found.append(f"{key} was changed: {str(difference)[:200]}")
    except Exception as error:  # noqa: BLE001 what must not happen is reported
        found.append(f"{type(error).__name__}: {str(error)[:200]}")
    else:
        if not admits(hint, value):
            found.append(f"was accepted, annotated as {hint}")
    if plt.get_fignums():
        if found or not name.startswith("pl."):
            found.append("left a figure open")
        plt.close("all")
    return [f"{name}({argument}={text}) {fault}" for fault in found]


def plan(calls: dict[str, Any], n_calls: int | None, seed: int) -> list[tuple[str, str, str]]:
    everything = [
        (name, argument, text)
        for name, (function, _) in calls.items()
        for argument in inspect.signature(function).parameters
        for text in VALUES
    ]
    if n_calls is None or n_calls >= len(everything):
        return everything
    chosen = np.random.default_rng(seed).choice(len(everything), n_calls, replace=False)
    return [everything[i] for i in sorted(chosen)]


def test_a_call_works_as_annotated_or_ends_in_a_clear_error(calls, assert_same_anndata, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = []
    for name, argument, text in plan(calls, N_CALLS, seed=0):
        function, base = calls[name]
        wrong += faults(name, function, base, argument, text, assert_same_anndata)
    assert not wrong, f"{len(wrong)} calls:\n" + "\n".join(wrong)


def test_calls_with_the_arguments_as_they_are_work(calls):
    for name, (function, base) in calls.items():
        if name.startswith("datasets.") and not base:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = {key: data.copy() if isinstance(data, AnnData | MuData) else data for key, data in base.items()}
            function(**given)
    from matplotlib import pyplot as plt

    plt.close("all")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import conftest

    logging.disable(logging.INFO)
    cohort = conftest.make_cohort()
    fitted = sg.tl.fit_metric(cohort, "sample", "label", rng=0, copy=True)
    pdata = sg.tl.sample_distances(fitted)
    sg.tl.embed_samples(pdata, "mds")
    all_calls = build_calls(cohort, fitted, pdata)
    chosen = plan(
        all_calls, int(sys.argv[1]) if len(sys.argv) > 1 else None, int(sys.argv[2]) if len(sys.argv) > 2 else 0
    )
    compare = conftest.assert_same_anndata.__wrapped__()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, argument, text in chosen:
            function, base = all_calls[name]
            for fault in faults(name, function, base, argument, text, compare):
                print(fault, flush=True)
                counts[fault.split(") ", 1)[1].split()[0]] += 1
    print(f"{len(chosen)} calls, {sum(counts.values())} faults {dict(counts)}")
