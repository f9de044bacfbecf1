"""How well labels of held-out patients are predicted, and whether that could be chance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scggml._anndata._entries import other_label
from scggml._anndata._slots import cross_validation_slots, separation_slots
from scggml.evaluation._cross_validation import BATCHES, OF_PROFILES, main_of
from scggml.get import scores
from scggml.get._scores import stored_scores
from scggml.get._separation import stored_separation

from ._texts import METHODS, RULES, SCORES

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scggml._anndata._stored_metric import StoredMetric

_BASELINE = "euclidean"
_OWN = "ggml"


@dataclass(frozen=True)
class Accuracy:
    """Scores on held-out patients.

    Parameters
    ----------
    score
        Name of the score in words.
    rows
        One for each method.
    lowest, chance
        Lower end of the scale, and what a guess scores; None where that is not known.
    n_splits, leave_one_out, donor_key
        How patients were held out.
    compared
        Whether the table says in which patients methods differ.
    predicted
        Prediction of the learned metric for each patient while it was held out.
    n_right
        How many of these are right; None for numbers.
    batch_key, batches
        Column of the batch, and how well each method predicts it; none if batches were not compared.
    """

    score: str
    rows: list[dict[str, Any]]
    lowest: float
    chance: float | None
    n_splits: int
    leave_one_out: bool
    donor_key: str | None
    compared: bool
    predicted: dict[str, str]
    n_right: int | None
    batch_key: str | None = None
    batches: list[dict[str, Any]] = field(default_factory=list)

    @property
    def own(self) -> dict[str, Any] | None:
        """The row of the learned metric."""
        return next((row for row in self.rows if row["is_own"]), None)

    @property
    def baseline(self) -> dict[str, Any] | None:
        """The row of the Euclidean metric."""
        return next((row for row in self.rows if row["is_baseline"]), None)


def read_accuracy(adata: AnnData, learned: StoredMetric, label_key: str, left_out: list[str]) -> Accuracy | None:
    """Return scores of the cross-validation, else those of the fit; add to `left_out` why there are none."""
    key = learned.key
    if cross_validation_slots(key).own(adata):
        entry = stored_scores(adata, key)
        other = other_label(entry, label_key)
        if other is None:
            return _of_cross_validation(adata, key, entry)
        left_out.append(f"The cross-validation is about another label ({other}), and is left out.")
    if "validation" in learned.entry:
        return _of_fit(learned)
    left_out.append(
        "Accuracy on held-out patients was not computed (sg.tl.cross_validate), so that nothing here says how well "
        "the metric predicts."
    )
    return None


def read_permutations(adata: AnnData, key: str, label_key: str, left_out: list[str]) -> dict[str, Any] | None:
    """Return the permutation test, if there is one of this label."""
    if not separation_slots(key).own(adata):
        return None
    entry = stored_separation(adata, key)
    other = other_label(entry, label_key)
    if other is not None:
        left_out.append(f"The permutation test is about another label ({other}), and is left out.")
        return None
    table = entry["table"]
    names = {"learned": METHODS[_OWN], "euclidean": METHODS[_BASELINE], "permanova": "PERMANOVA, Euclidean transport"}
    rows = [
        {"name": names.get(str(test), str(test)), "p": float(row["p_value"]), "n": int(row["n_permutations"])}
        for test, row in table.iterrows()
    ]
    within = [str(entry["params"][name]) for name in ("batch_key", "donor_key") if entry["params"].get(name)]
    return {"rows": rows, "n": rows[0]["n"], "p": float(table["p_value"].iloc[0]), "within": within}


def _of_cross_validation(adata: AnnData, key: str, entry: dict[str, Any]) -> Accuracy:
    predictions, params = entry["predictions"], entry["params"]
    kind = str(params.get("label_kind", "class"))
    classifier, score = main_of(kind)  # type: ignore[arg-type]
    has_baseline = _BASELINE in set(predictions["method"])
    table = scores(adata, key=key, baseline=_BASELINE if has_baseline else None)
    chosen = table[(table["score"] == score) & table["classifier"].isin([classifier, *OF_PROFILES])]
    rows = [
        _row(row["method"], row["classifier"], row["value"], row["ci_low"], row["ci_high"], row["p_value"],
             row["only_method"], row["only_baseline"], is_own=row["method"] == _OWN)
        for _, row in chosen.iterrows()
    ]  # fmt: skip
    rows.sort(key=lambda row: (not row["is_own"], not row["is_baseline"]))
    of_metric = predictions[(predictions["method"] == _OWN) & (predictions["classifier"] == classifier)]
    of_batch = table[(table["classifier"] == BATCHES) & (table["score"] == "balanced_accuracy")]
    batches = [
        {"name": METHODS.get(method, method), "value": value}
        for method, value in zip(of_batch["method"], of_batch["value"], strict=True)
        if method in (_OWN, _BASELINE)
    ]
    return Accuracy(
        batch_key=params.get("batch_key"), batches=batches,
        score=SCORES[score], rows=rows, lowest=0.0 if kind == "class" else -1.0,
        chance=1 / len(entry["classes"]) if kind == "class" else 0.0, n_splits=int(params["n_splits"]),
        leave_one_out=bool(params["leave_one_out"]), donor_key=params.get("donor_key"), compared=has_baseline,
        **_predicted(of_metric, kind),
    )  # fmt: skip


def _of_fit(learned: StoredMetric) -> Accuracy:
    found = learned.entry["validation"]
    kind = str(learned.params.get("label_kind", "class"))
    classifier, _ = main_of(kind)  # type: ignore[arg-type]
    own = (found["value"], found["ci_low"], found["ci_high"], found["p_value"])
    pairs = found["only_learned"], found["only_euclidean"]
    rows = [
        _row(_OWN, classifier, *own, *pairs, is_own=True),
        _row(_BASELINE, classifier, found["euclidean"], None, None, None, None, None, is_own=False),
    ]
    table = found["predictions"]
    of_metric = table[(table["method"] == _OWN) & (table["classifier"] == classifier)]
    n_splits = int(found["n_splits"])
    return Accuracy(
        score=SCORES.get(str(found["score"]), str(found["score"])), rows=rows, lowest=0.0 if kind == "class" else -1.0,
        chance=1 / len(learned.entry["classes"]) if kind == "class" else 0.0, n_splits=n_splits,
        leave_one_out=n_splits == table["donor"].nunique(), donor_key=learned.params.get("donor_key"), compared=True,
        **_predicted(of_metric, kind),
    )  # fmt: skip


def _row(
    method: Any, rule: Any, value: Any, low: Any, high: Any, p: Any, only: Any, only_baseline: Any, *, is_own: bool
) -> dict[str, Any]:
    numbers = {"value": value, "low": low, "high": high, "p": p, "only": only, "only_baseline": only_baseline}
    return {
        "name": METHODS.get(str(method), str(method)),
        "rule": RULES.get(str(rule), str(rule)),
        "is_own": is_own,
        "is_baseline": str(method) == _BASELINE,
        **{name: None if number is None or number != number else float(number) for name, number in numbers.items()},
    }


def _predicted(table: pd.DataFrame, kind: str) -> dict[str, Any]:
    """Return the prediction of each patient in the first repeat, and how many are right."""
    first = table[table["repeat"] == table["repeat"].min()]
    if kind == "class":
        return {
            "predicted": dict(zip(first["sample"].astype(str), first["predicted"].astype(str), strict=True)),
            "n_right": int((first["predicted"].astype(str) == first["label"].astype(str)).sum()),
        }
    values = (
        first["predicted"].astype(str)
        if "predicted_value" not in first
        else first["predicted_value"].map("{:.3g}".format)
    )
    return {"predicted": dict(zip(first["sample"].astype(str), values, strict=True)), "n_right": None}
