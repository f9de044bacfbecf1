"""New patients against the reference of an earlier run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

import scggml as sg
from scggml._check import listed
from scggml._keys import IS_REFERENCE, N_CELLS, OUTLIER, OUTLIER_P, PREDICTED, Keys

from ._hdf5 import write_h5ad
from ._input import check_cells, read_cells
from ._output import Steps, draw, logger, tell, write_results
from ._results import results_folder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

_KEYS = Keys()


def map_new(args: argparse.Namespace) -> None:
    """Map new patients, predict their classes, and write both."""
    with results_folder(args.out, sources=(args.file, args.reference)) as results:
        import matplotlib  # noqa: F401 before the work, as it fails where there is no place for its cache

        steps = Steps(4)
        steps.begin(f"reading {args.reference}")
        reference = _reference(args.reference)
        params = reference.uns[_KEYS.reference]["params"]
        steps.begin(f"reading {args.file}")
        sample_key = str(params["sample_key"]) if args.sample_key is None else args.sample_key
        check_cells(args.file, {"sample_key": sample_key})
        new = read_cells(args.file)
        steps.begin("distances of the new patients to those of the reference, and predictions")
        mapped = sg.tl.map_samples(new, reference, sample_key, n_jobs=args.n_jobs)
        has_predictions = "calibration" in mapped.uns[_KEYS.reference]
        if has_predictions:
            sg.tl.predict_samples(mapped)
        else:
            logger.warning(
                "warning: the reference was made without held-out samples, so that nothing can be predicted: "
                "predictions.csv is left out"
            )
        steps.begin(f"results in {args.out}")
        writers: dict[str, Callable[[Path], Any]] = {
            **({"predictions.csv": _predictions(mapped).to_csv} if has_predictions else {}),
            **_picture(mapped, str(params["label_key"]), args, has_predictions=has_predictions),
            "new_patients.h5ad": partial(write_h5ad, mapped),
        }
        write_results(writers, results, args)
    tell(_summary(mapped, has_predictions=has_predictions), args, steps.start)


def _reference(path: Path) -> AnnData:
    check_cells(path, {})
    reference = read_cells(path)
    if _KEYS.reference not in reference.uns:
        msg = (
            f"--reference {path} is no reference: it has no uns[{_KEYS.reference!r}]. Pass the reference.h5ad of "
            "scggml run, or what sg.tl.make_reference returns, written with write_h5ad."
        )
        raise ValueError(msg)
    return reference


def _predictions(mapped: AnnData) -> pd.DataFrame:
    """Return one row per new patient."""
    is_new = ~mapped.obs[IS_REFERENCE].to_numpy(dtype=bool)
    entry = mapped.uns[_KEYS.prediction]
    shares = pd.DataFrame(
        mapped.obsm[_KEYS.probabilities][is_new], index=mapped.obs_names[is_new],
        columns=[f"probability {name}" for name in entry["classes"]],
    )  # fmt: skip
    tests = entry["p_values"].add_prefix("p ")
    found = mapped.obs.loc[is_new, [N_CELLS, PREDICTED, OUTLIER, OUTLIER_P]].join(shares).join(tests)
    return found.rename_axis("sample")


def _picture(
    mapped: AnnData, label_key: str, args: argparse.Namespace, *, has_predictions: bool
) -> dict[str, Callable[[Path], None]]:
    """Return what draws the map, where the reference has one: new patients are rings in the predicted colour."""
    if "X_mds" not in mapped.obsm:
        return {}
    shown = mapped.copy()
    if has_predictions:
        known = shown.obs[PREDICTED]
        label = shown.obs[label_key].astype(object).where(known.isna(), known.astype(object))
        shown.obs[label_key] = pd.Categorical(label, shown.obs[label_key].astype("category").cat.categories)
    drawing = partial(draw, lambda ax: sg.pl.sample_map(shown, color=label_key, ax=ax))
    return {f"patient_map_new.{args.figure_format}": drawing}


def _summary(mapped: AnnData, *, has_predictions: bool) -> str:
    new = mapped.obs[~mapped.obs[IS_REFERENCE].to_numpy(dtype=bool)]
    lines = [f"New patients: {len(new)}; patients of the reference: {mapped.n_obs - len(new)}"]
    if has_predictions:
        counts = new[PREDICTED].value_counts()
        lines.append(f"Predicted: {', '.join(f'{name} {count}' for name, count in counts.items() if count)}")
        outliers = new.index[new[OUTLIER]]
        lines.append(
            f"Outliers: {listed(outliers)}"
            + (" (unlike all patients of the reference: do not use their predictions)" if len(outliers) else "")
        )
    return "\n".join(lines) + "\n"
