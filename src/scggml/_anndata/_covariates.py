"""What is known of samples: covariates in the roles that they have for distances, and patients with replicates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._warnings import warn
from scggml.evaluation._representation_scores import N_NEIGHBORS, ROLES, Covariate, Role

from ._columns import is_numeric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from scggml.core.metric._targets import LabelKind


def read_covariates(
    obs: pd.DataFrame, columns: Mapping[Role, str | Sequence[str] | None], units: NDArray[np.int64]
) -> list[Covariate]:
    """Return the covariates of samples, checked; warn of values that are missing.

    Parameters
    ----------
    obs
        Table of the samples.
    columns
        Names of columns by role.
    units
        Patient of each sample, (n_samples,).
    """
    found: dict[str, Covariate] = {}
    for role in ROLES:
        given = columns[role]
        for name in [] if given is None else [given] if isinstance(given, str) else given:
            if name in found:
                msg = f"{name!r} is passed twice, as {found[name].role} and as {role}. Pass each column once."
                raise ValueError(msg)
            found[name] = _read(obs, name, role, units)
    _warn_of_missing(obs, list(found.values()))
    _warn_of_single(obs, list(found.values()), units)
    return list(found.values())


def read_patients(obs: pd.DataFrame, replicate_key: str) -> NDArray[np.int64]:
    """Return the patient of each sample, (n_samples,); refuse columns that name no replicates."""
    column = check.existing_column("replicate_key", replicate_key, obs)
    if column.isna().any():
        msg = (
            f"replicate_key={replicate_key!r} is missing in {int(column.isna().sum())} of {len(column)} samples, first "
            f"{check.shown(column.index[column.isna()][0])}: it is not known whether they are replicates. Fill it in, "
            f"or subset to pdata[pdata.obs[{replicate_key!r}].notna()]."
        )
        raise ValueError(msg)
    names = check.as_names("replicate_key", replicate_key, check.check_column("replicate_key", replicate_key, obs))
    units = np.unique(names, return_inverse=True)[1].astype(np.int64)
    n_patients = len(np.unique(units))
    if n_patients in (1, len(units)):
        what = "the same value in all samples" if n_patients == 1 else "another value in every sample"
        msg = (
            f"replicate_key={replicate_key!r} has {what}, found {check.shown(names[0])}. It must be the same for "
            "samples that are replicates of one another, such as the name of the patient, and differ between patients."
        )
        raise ValueError(msg)
    return units


def _read(obs: pd.DataFrame, name: str, role: Role, units: NDArray[np.int64]) -> Covariate:
    column = check.existing_column(role, name, obs)
    known = column.notna().to_numpy()
    text = f"{role}={name!r}"
    of_units = np.unique(units[known], return_counts=True)[1]
    n_others = int(known.sum() - of_units.max(initial=0))
    if n_others < N_NEIGHBORS:
        msg = (
            f"{text} is known in {int(known.sum())} of {len(column)} samples. A sample is predicted by its "
            f"{N_NEIGHBORS} nearest samples other than its replicates, but some have only {n_others}. Leave the "
            "column out, or add samples."
        )
        raise ValueError(msg)
    column = check.check_column(role, name, obs[known])
    kind, values = _kind_and_values(role, name, column)
    if not np.isfinite(values).all():
        msg = (
            f"{text} has {int((~np.isfinite(values)).sum())} infinite values. Replace them, or set them to NaN: "
            "samples without a value are left out."
        )
        raise ValueError(msg)
    if len(np.unique(values)) < 2:
        msg = f"{text} has only the value {check.shown(column.tolist()[0])}: there is nothing to predict. Leave it out."
        raise ValueError(msg)
    return Covariate(name, role, kind, known, values)


def _kind_and_values(role: Role, name: str, column: pd.Series) -> tuple[LabelKind, NDArray[np.float64]]:
    """Return the kind of a column, by its dtype, and its values as numbers."""
    dtype: Any = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) and dtype.ordered:
        codes = column.cat.remove_unused_categories().cat.codes
        return "ordinal", np.asarray(codes, dtype=np.float64)
    if is_numeric(column):
        return "continuous", column.to_numpy(dtype=np.float64)
    if getattr(dtype, "kind", "O") in "mM" or isinstance(dtype, pd.PeriodDtype):
        msg = (
            f"{role}={name!r} holds {dtype}. Convert it to numbers, for example to days: pdata.obs[{name!r}] = "
            f"(pdata.obs[{name!r}] - pdata.obs[{name!r}].min()).dt.days."
        )
        raise TypeError(msg)
    names = check.as_names(role, name, column)
    return "class", np.unique(names, return_inverse=True)[1].astype(np.float64)


def _warn_of_missing(obs: pd.DataFrame, covariates: list[Covariate]) -> None:
    missing = [f"{c.name} ({int((~c.known).sum())} of {len(obs)})" for c in covariates if not c.known.all()]
    if missing:
        warn(f"samples without a value are left out of the scores of {check.listed(missing, limit=None)}.")


def _warn_of_single(obs: pd.DataFrame, covariates: list[Covariate], units: NDArray[np.int64]) -> None:
    """Refuse classes that all have one patient, and warn of some: other patients cannot predict them."""
    found = []
    for covariate in covariates:
        if covariate.kind != "class":
            continue
        pairs = np.unique(np.stack([covariate.values, units[covariate.known]], axis=1), axis=0)
        counts = np.bincount(pairs[:, 0].astype(np.int64))
        if (counts == 1).all():
            msg = (
                f"{covariate.role}={covariate.name!r} has another class in each sample or patient, {len(counts)} in "
                f"all: no other sample can predict them. Leave it out, or convert it if it holds numbers: "
                f"pdata.obs[{covariate.name!r}] = pdata.obs[{covariate.name!r}].astype(float)."
            )
            raise ValueError(msg)
        if (counts == 1).any():
            found.append(f"{covariate.name} ({int((counts == 1).sum())} of {len(counts)} classes)")
    if found:
        text = check.listed(found, limit=None)
        warn(f"classes of one sample or patient cannot be predicted, which lowers the score: {text}.")
