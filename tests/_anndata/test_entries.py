"""Stored entries that were damaged or made by someone else: an error that names the field, never a number."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

import scggml as sg
from scggml._anndata import _entries
from scggml._anndata._schema import Entry, Number, Numbers, Table, Text, Texts, check_entry
from scggml.cli._errors import is_ours


@pytest.fixture(scope="module")
def made(_cohort):
    """One of all that is stored, and a call that reads it."""
    warnings.simplefilter("ignore")
    cells = _cohort.copy()
    sg.pp.sketch(cells, "sample", n_points=4, rng=0)
    sg.tl.fit_metric(cells, "sample", "label", rng=0)
    samples = sg.tl.sample_distances(cells)
    sg.tl.explain_distances(cells, samples, cell_type_key="cell_type")
    sg.tl.cross_validate(cells, "sample", "label", cv=2, methods=["ggml"], rng=0)
    sg.tl.tune(cells, "sample", "label", grid={"ridge": [0.1, 1.0]}, cv=4, rng=0)
    sg.tl.power(cells, "sample", "label", n_samples=8, rng=0)
    is_new = cells.obs["sample"].isin(["p5", "p7"])
    old, new = cells[~is_new].copy(), cells[is_new].copy()
    sg.tl.fit_metric(old, "sample", "label", rng=0)
    reference = sg.tl.make_reference(old, sg.tl.sample_distances(old), rng=0)
    del new.uns["ggml"]
    return {
        "metric": (cells, "ggml", "METRIC", sg.tl.sample_distances),
        "sketch": (cells, "sketch", "SKETCH", lambda x: sg.tl.sample_distances(x, sketch_key="sketch")),
        "cross_validation": (cells, "ggml_cross_validation", "CROSS_VALIDATION", sg.get.scores),
        "tuning": (cells, "ggml_tuning", "TUNING", sg.pl.tuning),
        "power": (cells, "ggml_power", "POWER", sg.pl.power),
        "distances": (samples, "ggml", "DISTANCES", lambda x: sg.tl.explain_distances(cells, x)),
        "explanation": (samples, "ggml_explanation", "EXPLANATION", lambda x: sg.get.explanation(x, "genes")),
        "reference": (reference, "ggml_reference", "REFERENCE", lambda x: sg.tl.map_samples(new, x)),
        "calibration": (
            sg.tl.map_samples(new, reference),
            "ggml_reference",
            "CALIBRATION",
            lambda x: sg.tl.predict_samples(x, copy=True),
        ),
    }


KINDS = (
    "metric",
    "sketch",
    "cross_validation",
    "tuning",
    "power",
    "distances",
    "explanation",
    "reference",
    "calibration",
)


def damages(wanted, value):
    """Yield values that a field must not have, each with a word for it."""
    yield "another type", 7 if isinstance(wanted, Entry | Table | Texts | Text) else "seven"
    yield "a list of lists", [[1], [2, 3]]
    if isinstance(wanted, Entry):
        yield "a text", "text"
        return
    yield "a mapping", {"a": 1}
    if isinstance(wanted, Numbers):
        array = np.asarray(value)
        yield "another dimension", array[..., None]
        yield "text for numbers", array.astype(str)
        yield "objects", array.astype(object)
        yield "complex", array.astype(complex)
        if array.size:
            first = (0,) * array.ndim
            for word, bad in (("NaN", np.nan), ("low", -1.0)):
                if word == "NaN" or wanted.minimum is not None or wanted.above is not None:
                    damaged = array.astype(float)
                    damaged[first] = bad
                    yield word, damaged
            if not wanted.integers:
                masked = np.ma.masked_array(array, mask=np.zeros(array.shape, dtype=bool))
                masked[first] = np.ma.masked
                yield "hidden", masked
    if isinstance(wanted, Number):
        yield "NaN", np.nan
        yield "several", np.ones(2)
        if wanted.minimum is not None or wanted.above is not None:
            yield "low", -1.0
    if isinstance(wanted, Texts):
        yield "numbers", np.arange(len(value))
        yield "missing", np.append(np.asarray(value, dtype=object)[:-1], None)
    if isinstance(wanted, Table):
        for name in (*wanted.columns, *wanted.numeric):
            yield f"no {name}", value.drop(columns=name)
        for name in wanted.numeric:
            yield f"text in {name}", value.assign(**{name: "x"})
        yield "a column twice", pd.concat([value, value.iloc[:, :1]], axis=1)


def fields_of(wanted, entry, path=()):
    """Yield all fields that are there: their path, what they should be, and what they are."""
    for name, kind in wanted.fields.items():
        if name in entry:
            yield (*path, name), kind, entry[name]
            if isinstance(kind, Entry):
                yield from fields_of(kind, entry[name], (*path, name))


def with_field(entry, path, value):
    """Return an entry with another value at a path, without it where the value is None."""
    changed = dict(entry)
    name, *rest = path
    if rest:
        changed[name] = with_field(entry[name], rest, value)
    elif value is None:
        del changed[name]
    else:
        changed[name] = value
    return changed


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_fields(made, kind):
    adata, key, name, call = made[kind]
    prefix = ("calibration",) if kind == "calibration" else ()
    schema, entry = getattr(_entries, name), adata.uns[key]
    for part in prefix:
        entry = entry[part]
    wrong, n_tried = [], 0
    for path, wanted, value in fields_of(schema, entry):
        where = "".join(f"[{part!r}]" for part in (*prefix, *path))
        cases = list(damages(wanted, value))
        for word, damaged in cases if wanted.optional else [("missing", None), *cases]:
            n_tried += 1
            changed = adata.copy()
            changed.uns[key] = with_field(adata.uns[key], (*prefix, *path), damaged)
            try:
                call(changed)
            except (ValueError, KeyError) as error:
                text = str(error.args[0])
                named = path[-1] in text or "is not a" in text or (word == "missing" and isinstance(error, KeyError))
                if f"uns[{key!r}]" not in text or not named:
                    wrong.append(f"{where} {word}: {error!r}")
            except Exception as error:  # noqa: BLE001 what is looked for
                wrong.append(f"{where} {word}: {type(error).__name__}: {error}")
            else:
                wrong.append(f"{where} {word}: accepted")
    assert not wrong, "\n".join(wrong)
    assert n_tried > 5


CASES = {
    "a row less": ("reference", ("points",), lambda x: x[:-1], "['offsets'] must rise from 0 to"),
    "falling offsets": ("reference", ("offsets",), lambda x: x[::-1].copy(), "['offsets'] must rise from 0"),
    "another width": ("reference", ("points",), lambda x: x[:, :-1], "['points'] must hold"),
    "fewer genes": ("reference", ("genes", "names"), lambda x: x[:-1], "['genes']['mean'] must hold 11 finite"),
    "no unit": ("reference", ("genes", "unit"), None, "['genes']['unit'] must be there, as loadings are"),
    "wider metric": ("reference", ("metric", "scale"), lambda x: np.append(x, 1), "['metric']['scale'] must hold 5"),
    "infinite": ("metric", ("components",), lambda x: x * np.inf, "25 values that are NaN or infinite"),
    "strange solver": ("metric", ("solver",), lambda x: "best", "['solver'] must be one of 'exact', 'pot'"),
    "no strength": ("metric", ("solver",), lambda x: "sinkhorn", "['epsilon'] must be there, as the solver is"),
    "strange class": (
        "calibration",
        ("calibration", "classes"),
        lambda x: np.array(["a", "b"], dtype=object),
        "['held_out']['label'] must hold the classes",
    ),
    "learner": ("metric", ("params", "learner"), lambda x: "x", "['params']['learner'] must be a mapping, found 'x'"),
}


@pytest.mark.parametrize("case", CASES)
def test_fields_that_do_not_fit_one_another(made, case):
    kind, path, change, text = CASES[case]
    adata, key, _, call = made[kind]
    value = adata.uns[key]
    for part in path:
        value = value[part]
    changed = adata.copy()
    changed.uns[key] = with_field(adata.uns[key], path, None if change is None else change(value))
    with pytest.raises(ValueError, match=r"the entry was damaged, or not made by scggml\. [A-Z]") as caught:
        call(changed)
    assert str(caught.value).startswith(f"uns[{key!r}]")
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ridge", "x"),
        ("solver", {"reg": 1, "os": 2}),
        ("solver", 3),
        ("refine", 7),
        ("refine", {"lr": "x"}),
        ("power", -1),
    ],
)
def test_settings_of_a_learner_that_are_none(made, name, value):
    cells, _, _, _ = made["metric"]
    changed = cells.copy()
    learner = {**changed.uns["ggml"]["params"]["learner"], name: value}
    changed.uns["ggml"] = with_field(changed.uns["ggml"], ("params", "learner"), learner)
    with pytest.raises(ValueError, match=r"uns\['ggml'\]\['params'\]\['learner'\] must hold settings of a learner, as"):
        sg.tl.rank_genes(changed, n_boot=20)


@pytest.mark.parametrize("group", [2**62, 2**31])
def test_groups_that_no_sketch_has(made, group):
    """As codes of samples and groups in one integer, they would come around to other groups."""
    cells, _, _, call = made["sketch"]
    changed = cells.copy()
    groups = changed.obs["sketch"].to_numpy().astype(np.int64)
    groups[groups == groups.max()] = group
    changed.obs["sketch"] = groups
    with pytest.raises(ValueError, match=rf"obs\['sketch'\] is not what sg\.pp\.sketch wrote.* to .*{group}"):
        call(changed)


def test_gene_weights_that_are_none(made):
    changed = made["metric"][0].copy()
    changed.varm["ggml"][3, 0] = np.nan
    with pytest.raises(ValueError, match=r"varm\['ggml'\] must hold .* finite numbers.* 1 values that are NaN.* Fit"):
        sg.get.gene_weights(changed)


def test_what_may_be_there():
    """Arrays of length one, NumPy's own texts, lists and read-only arrays are as good."""
    wanted = Entry(
        {"a": Number(), "b": Text(("x",)), "c": Texts("n"), "d": Numbers(("n",)), "e": Number(optional=True)}
    )
    frozen = np.arange(2.0)
    frozen.flags.writeable = False
    check_entry({"a": np.array([1]), "b": np.array(["x"]), "c": ["u", "v"], "d": frozen, "more": 1}, wanted, "it", "")
    check_entry(
        {"a": np.float32(1), "b": np.str_("x"), "c": np.array(["u", "v"]), "d": [1, 2], "e": None}, wanted, "it", ""
    )
    with pytest.raises(ValueError, match=r"it\['d'\] must hold 1 finite numbers, found \[1, 2\] of type list"):
        check_entry({"a": 1, "b": "x", "c": "u", "d": [1, 2]}, wanted, "it", "")


def parts_of(entry, path=()):
    """Where everything in an entry stands: its fields, those within, and the columns of its tables."""
    for name in entry:
        yield (*path, name)
        if isinstance(entry[name], Mapping | pd.DataFrame):
            yield from parts_of(entry[name], (*path, name))


def without(entry, path):
    first, *rest = path
    if isinstance(entry, pd.DataFrame):
        return entry.drop(columns=first)
    if not rest:
        return {name: value for name, value in entry.items() if name != first}
    return {**entry, first: without(entry[first], rest)}


def all_readers(made, kind):
    """The call that reads an entry, and others that read other parts of it."""
    more = {
        "metric": [lambda x: sg.tl.rank_genes(x, copy=True), lambda x: sg.tl.class_barycenters(x, n_points=3, rng=0)],
        "cross_validation": [sg.pl.cross_validation],
        "distances": [
            lambda x: sg.get.distances(x, bounds=True), lambda x: sg.tl.order_samples(x, "well", copy=True),
        ],
        "explanation": [
            *(lambda x, table=table: sg.get.explanation(x, table, classes=["sick", "well"]) for table in
              ("summary", "cell_types", "flows", "genes", "pairs")),
            sg.pl.transport, sg.pl.explained_genes,
        ],
    }  # fmt: skip
    return [made[kind][3], *more.get(kind, [])]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_read_that_may_be_missing_without_a_word(made, kind, pyplot):
    """Each field that was written is left out in turn: readers do without it, or say what is wrong."""
    adata, key, *_ = made[kind]
    wrong = []
    for path in list(parts_of(adata.uns[key])):
        changed = adata.copy()
        changed.uns[key] = without(adata.uns[key], path)
        for read in all_readers(made, kind):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read(changed)
            except (KeyError, TypeError, ValueError) as error:
                if not is_ours(error):
                    wrong.append(f"without {path}: {type(error).__name__} {str(error)[:80]}")
            pyplot.close("all")
    assert not wrong, "\n".join(wrong)
