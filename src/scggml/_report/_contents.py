"""What a report shows, collected from cells and samples and checked before a line is written."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from scggml import _check as check
from scggml._anndata._cohort import read_samples
from scggml._anndata._distances import distances_entry, read_distances
from scggml._anndata._entries import other_label
from scggml._anndata._known_distances import order_of_samples
from scggml._anndata._stored_metric import read_metric
from scggml._keys import HELD_OUT, STATUSES, Keys

from ._figures import Palette, heatmap_figure, map_figure, positions_on_map
from ._methods_text import methods_text
from ._new_patients import NewPatients, read_new_patients
from ._parts import read_cell_types, read_genes
from ._scores import Accuracy, read_accuracy, read_permutations

if TYPE_CHECKING:
    from anndata import AnnData

    from scggml._anndata._stored_metric import StoredMetric

_PACKAGES = ("scggml", "anndata", "numpy", "scipy", "pandas", "scikit-learn", "pot", "scanpy", "plotly")
_MIN_ON_MAP = 4  # patients


@dataclass(frozen=True)
class Distances:
    """Distances between all patients.

    Parameters
    ----------
    key
        Their key.
    status
        "held_out", "training" or "new" under a learned metric; "unlearned"; or "unknown".
    metric
        Its name.
    folds
        Number of folds of held-out ones.
    """

    key: str
    status: str
    metric: str
    folds: int | None = None


@dataclass(frozen=True)
class Contents:
    """All that the template of the page knows."""

    label_key: str
    label_kind: str
    classes: list[dict[str, Any]]
    n_patients: int
    n_donors: int | None
    n_cells: int
    representation: str
    n_components: int
    distances: Distances
    all_distances: list[Distances]
    figures: dict[str, dict[str, Any]]
    accuracy: Accuracy | None
    permutations: dict[str, Any] | None
    label_p_value: float | None
    genes: dict[str, Any] | None
    cell_types: dict[str, Any] | None
    new_patients: NewPatients | None
    patients: list[dict[str, Any]]
    left_out: list[str]
    methods: list[str]
    settings: list[tuple[str, str]]
    versions: list[tuple[str, str]]
    today: str = field(default_factory=lambda: f"{date.today():%d %B %Y}".lstrip("0"))


def read_contents(
    adata: AnnData, pdata: AnnData, held_out: AnnData | None, mapped: AnnData | None, key: str
) -> Contents:
    """Return what a report shows of a cohort, and of new patients if there are any."""
    learned = read_metric(adata, key)
    label_key, kind = learned.param("label_key"), str(learned.params.get("label_kind", "class"))
    cohort = read_samples(adata, learned.param("sample_key"), features=False)
    order = order_of_samples(pdata, cohort)
    if held_out is not None:
        pdata = _with_held_out(pdata, held_out, key)
    known = _distances(pdata, key, label_key)
    shown = known[0]
    palette = Palette.of(pdata, label_key, kind, [str(name) for name in learned.entry.get("classes", ())])
    new = None if mapped is None else read_new_patients(mapped, pdata, key, palette)

    matrix = read_distances(pdata, shown.key).to_numpy()
    figures = {"heatmap": heatmap_figure(matrix, list(pdata.obs_names), palette)}
    if len(matrix) >= _MIN_ON_MAP:
        at = positions_on_map(pdata, shown.key)
        figures = {"map": map_figure(at, list(pdata.obs_names), palette), **figures}
    if new is not None:
        figures["new"] = new.figure

    left_out: list[str] = []
    accuracy = read_accuracy(adata, learned, label_key, left_out)
    found: dict[str, Any] = {
        "accuracy": accuracy,
        "permutations": read_permutations(adata, key, label_key, left_out),
        "label_p_value": learned.entry.get("label_p_value"),
        "genes": read_genes(adata, key),
        "cell_types": read_cell_types(pdata, key, label_key, left_out),
        "new_patients": new,
    }
    predicted = {} if accuracy is None else accuracy.predicted
    labels = palette.texts
    representation = _representation(learned)
    about: dict[str, Any] = {
        "label_key": label_key,
        "label_kind": kind,
        "n_patients": pdata.n_obs,
        "n_donors": _n_donors(adata, learned),
        "n_cells": adata.n_obs,
        "representation": representation,
        "n_components": len(learned.entry["components"]),
        "distances": shown,
    }
    return Contents(
        **about,
        **found,
        classes=palette.counts,
        all_distances=known,
        figures=figures,
        patients=[
            {"name": name, "label": labels[i], "n_cells": int(cohort.sizes[order[i]]), "predicted": predicted.get(name)}
            for i, name in enumerate(map(str, pdata.obs_names))
        ],
        left_out=left_out,
        methods=methods_text(learned, about, found),
        settings=_settings(learned),
        versions=_versions(),
    )


def _with_held_out(pdata: AnnData, held_out: AnnData, key: str) -> AnnData:
    """Return a copy of the samples with held-out distances beside theirs."""
    missing = pdata.obs_names.difference(held_out.obs_names)
    if held_out.n_obs != pdata.n_obs or len(missing):
        msg = (
            f"held_out must hold the samples of pdata, found {held_out.n_obs} for {pdata.n_obs}; missing: "
            f"{check.listed(missing)}. Compute sg.tl.sample_distances(adata, cv='auto') on the same cells."
        )
        raise ValueError(msg)
    name = HELD_OUT if Keys(HELD_OUT).distances in held_out.obsp else key
    status = read_distances(held_out, name).attrs.get("status", "unknown")
    if status != HELD_OUT:
        msg = (
            f"held_out must hold held-out distances, found status {status!r} of obsp[{Keys(name).distances!r}]. "
            "Compute them with sg.tl.sample_distances(adata, cv='auto')."
        )
        raise ValueError(msg)
    found = held_out[pdata.obs_names]
    pdata = pdata.copy()
    pdata.obsp[Keys(HELD_OUT).distances] = found.obsp[Keys(name).distances].copy()
    pdata.uns[HELD_OUT] = found.uns[name]
    return pdata


def _distances(pdata: AnnData, key: str, label_key: str) -> list[Distances]:
    """Return which distances there are, held-out ones first."""
    found = []
    for name in dict.fromkeys((key, HELD_OUT)):
        if name != key and Keys(name).distances not in pdata.obsp:
            continue
        attrs = read_distances(pdata, name).attrs
        metric = attrs.get("metric", "unknown")
        status = "unlearned" if metric not in ("learned", "unknown") else attrs.get("status", "unknown")
        entry = distances_entry(pdata, name) if status in STATUSES else {"params": {}}
        other = other_label(entry, label_key)
        if other is not None:
            msg = (
                f"pdata.obsp[{Keys(name).distances!r}] holds distances under a metric that was learned from "
                f"label_key={other!r}, that in adata.uns[{key!r}] from {label_key!r}. Compute them again with "
                "sg.tl.sample_distances."
            )
            raise ValueError(msg)
        folds = entry.get("folds") if status == HELD_OUT else None
        found.append(Distances(name, status, metric, None if folds is None else len(np.unique(folds))))
    return sorted(found, key=lambda one: one.status != HELD_OUT)


def _n_donors(adata: AnnData, learned: StoredMetric) -> int | None:
    """Return the number of donors, where they are known to have several samples."""
    donor_key = learned.params.get("donor_key")
    return None if donor_key is None else int(check.existing_column("donor_key", donor_key, adata.obs).nunique())


def _representation(learned: StoredMetric) -> str:
    """Return what cells were compared by, in words."""
    use_rep, n = learned.param("use_rep"), len(learned.entry["scale"])
    if use_rep == "X":
        layer = learned.params.get("layer")
        return f"{n:,} features of {'X' if layer is None else f'layer {layer}'}"
    return f"{n:,} principal components (X_pca)" if use_rep == "X_pca" else f"{n:,} dimensions of {use_rep}"


def _settings(learned: StoredMetric) -> list[tuple[str, str]]:
    """Return the arguments of the fit, one level deep."""
    rows = [("key", learned.key)]
    for name, value in sorted(learned.params.items()):  # files change their order
        inner = sorted(value.items()) if isinstance(value, dict) else None
        rows += [(name, _value(value))] if inner is None else [(f"{name}: {field}", _value(v)) for field, v in inner]
    return [*rows, ("fitted with scggml", str(learned.entry.get("version", "unknown")))]


def _value(value: Any) -> str:
    return check.shortened(value.tolist() if isinstance(value, np.ndarray | np.generic) else value)


def _versions() -> list[tuple[str, str]]:
    found = [("Python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:  # pragma: no cover - installed without metadata
            continue
    return found
