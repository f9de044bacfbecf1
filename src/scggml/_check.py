"""Checks of user input, made before any work is done, and the texts of their errors."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Collection, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_LISTED = 5
_MAX_SHOWN = 80  # characters of one value in a message
_MAX_INTEGER = 2**31 - 1
_MAX_JOBS = 1024
_MAX_NAME = 500
_MAX_FILE_NAME = 255
# what pandas.read_csv takes for missing, and what casting missing values to text makes of them
_MISSING_TEXTS = frozenset(
    {"", "nan", "NaN", "NAN", "-nan", "-NaN", "NA", "na", "N/A", "n/a", "#N/A", "<NA>", "NaT", "None", "NULL", "null"}
)


def check_integer(name: str, value: Any, *, minimum: int, maximum: int | None = None, unit: str = "") -> int:
    """Return `value` as an int within bounds; a float or a bool is refused rather than rounded."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        msg = f"{name} must be an integer, found {shown(value)}. Pass a whole number."
        raise TypeError(msg)
    value = int(value)
    if value < minimum:
        msg = f"{name} must be at least {minimum}, found {shown(value)}. Pass a larger number."
        raise ValueError(msg)
    if maximum is None:
        maximum = _MAX_INTEGER
    if value > maximum:
        msg = f"{name} must be at most {maximum}{unit}, found {shown(value)}. Pass a smaller number."
        raise ValueError(msg)
    return value


def check_number(
    name: str, value: Any, *, minimum: float | None = None, above: float | None = None, maximum: float | None = None
) -> float:
    """Return `value` as a finite float with `minimum <= value`, `above < value` and `value <= maximum`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        msg = f"{name} must be a number, found {shown(value)}. Pass an int or a float."
        raise TypeError(msg)
    try:
        number = float(value)
    except OverflowError:  # an int beyond 1e308
        number = np.inf
    bounds = []
    if minimum is not None:
        bounds.append((f"at least {minimum}", number >= minimum))
    if above is not None:
        bounds.append((f"greater than {above}", number > above))
    if maximum is not None:
        bounds.append((f"at most {maximum}", number <= maximum))
    if not np.isfinite(number) or not all(holds for _, holds in bounds):
        wanted = " and ".join(["finite", *(text for text, _ in bounds)])
        msg = f"{name} must be {wanted}, found {shown(value)}. Pass a number in that range."
        raise ValueError(msg)
    return number


def check_flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False; numbers and text are not taken for them."""
    if not isinstance(value, bool | np.bool_):
        msg = f"{name} must be True or False, found {shown(value)}"
        raise TypeError(msg)


def check_random_generator(name: str, rng: Any) -> None:
    """Refuse what is no seed, no generator and not None."""
    if rng is None or isinstance(rng, np.random.Generator):
        return
    is_integer = isinstance(rng, Integral) and not isinstance(rng, bool | np.bool_)
    if not is_integer or rng < 0:
        found = shown(rng)
        msg = (
            f"{name} must be a seed (an integer that is not negative), a numpy.random.Generator or None, found {found}"
        )
        raise ValueError(msg) if is_integer else TypeError(msg)


def check_jobs(name: str, n_jobs: Any) -> None:
    """Refuse a number of jobs that joblib would not take."""
    if n_jobs is not None and (check_integer(name, n_jobs, minimum=-_MAX_JOBS, maximum=_MAX_JOBS) == 0):
        msg = f"{name} must not be 0. Pass None or -1 for all cores, or a positive number."
        raise ValueError(msg)


def check_device(name: str, device: Any) -> None:
    """Refuse a device of torch that is not there."""
    if device is None:
        return
    import torch

    kinds = [
        "cpu",
        *(["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))] if torch.cuda.is_available() else []),
    ]
    if not isinstance(device, str) or device not in kinds:
        msg = (
            f"{name} must be None or one of those that torch finds here ({listed(kinds, limit=None)}), "
            f"found {shown(device)}"
        )
        raise ValueError(msg)


def is_among(value: Any, choices: Collection[Any]) -> bool:
    """Whether a value is one of several texts or objects; arrays are not compared element by element."""
    return any(value is choice or (isinstance(value, str) and value == choice) for choice in choices)


def check_choice(name: str, value: Any, choices: Collection[Any], *, otherwise: str = "") -> None:
    """Refuse a value that is not among `choices`; `otherwise` names what else the argument may be."""
    if not is_among(value, choices):
        allowed = ", ".join(repr(choice) for choice in choices) if otherwise else listed(choices, limit=None)
        wanted = f"{allowed} or {otherwise}" if otherwise else f"one of {allowed}"
        msg = f"{name} must be {wanted}, found {shown(value)}"
        raise ValueError(msg)


def check_text(name: str, value: Any, what: str = "a name") -> None:
    """Refuse what is no text, or too long for a name; `what` says what it names."""
    if not isinstance(value, str):
        msg = f"{name} must be {what} as text, found {shown(value)}"
        raise TypeError(msg)
    if len(value) > _MAX_NAME:
        msg = f"{name} must be {what} of at most {_MAX_NAME} characters, found {len(value)} of them"
        raise ValueError(msg)


def check_list(name: str, value: Any, what: str) -> None:
    """Refuse what is no list, or another collection in one dimension; `what` says of what."""
    is_list = isinstance(value, Collection) and getattr(value, "ndim", 1) == 1
    if isinstance(value, str | bytes | Mapping) or not is_list:
        remedy = f". Pass a list: [{shown(value)}]." if isinstance(value, str) else ""
        msg = f"{name} must be a list of {what}, found {shown(value)}{remedy}"
        raise TypeError(msg)


def check_names(name: str, value: Any, what: str) -> None:
    """Refuse what is no list of texts; `what` says what these name."""
    check_list(name, value, what)
    for i, item in enumerate(value):
        check_text(f"{name}[{i}]", item)


def check_path(name: str, value: Any) -> None:
    """Refuse what is no path of a file or folder."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        msg = f"{name} must be a path, found {shown(value)}"
        raise TypeError(msg)
    text = os.fsdecode(value)
    if "\0" in text or max(map(len, Path(text).parts)) > _MAX_FILE_NAME:
        msg = f"{name} must be a path of names of at most {_MAX_FILE_NAME} characters without NUL, found {shown(text)}"
        raise ValueError(msg)


def check_name(name: str, value: Any) -> None:
    """Refuse what cannot be a key of an AnnData that is written to disk."""
    if not isinstance(value, str) or not value or any(character in value for character in "/\0"):
        msg = f"{name} must be a non-empty text without '/', found {shown(value)}"
        raise ValueError(msg) if isinstance(value, str) else TypeError(msg)
    check_text(name, value)


def check_anndata(name: str, adata: Any) -> None:
    """Refuse what is not an AnnData, one without observations, or one whose table of them is not in memory."""
    from anndata import AnnData

    if not isinstance(adata, AnnData):
        msg = f"{name} must be an AnnData, found {type(adata).__name__}"
        if type(adata).__name__ == "MuData":
            msg += f". Join its modalities with sg.pp.join_modalities({name}), or pass one of them, {name}.mod[...]."
        raise TypeError(msg)
    if adata.n_obs == 0:
        msg = f"{name} has no observations"
        raise ValueError(msg)
    if not isinstance(adata.obs, pd.DataFrame):
        msg = (
            f"{name}.obs is a {type(adata.obs).__name__}, which is not in memory. Set {name}.obs = "
            f"{name}.obs.to_memory() first; X, layers and obsm may stay where they are."
        )
        raise TypeError(msg)


def existing_column(name: str, key: str, obs: pd.DataFrame) -> pd.Series:
    """Return the one column of `obs` of this name, or say which there are."""
    if key not in obs.columns:
        msg = f"{name}={shown(key)} is not a column of obs. Found: {listed(obs.columns, limit=20)}"
        raise KeyError(msg)
    column = obs[key]
    if isinstance(column, pd.DataFrame):
        msg = f"{name}={key!r} names {column.shape[1]} columns of obs. Rename them apart."
        raise ValueError(msg)
    return column


def check_column(name: str, key: Any, obs: pd.DataFrame) -> pd.Series:
    """Return a column of `obs` that exists and has no missing values."""
    if not isinstance(key, str):
        msg = f"{name} must be the name of a column of obs, found {shown(key)}"
        raise TypeError(msg)
    column = existing_column(name, key, obs)
    missing = column.isna()
    if missing.any():
        msg = (
            f"{name}={key!r} has missing values in {int(missing.sum())} of {len(column)} cells, first "
            f"{shown(column.index[missing.to_numpy()][0])}. Fill them in, or subset to "
            f"adata[adata.obs[{key!r}].notna()]."
        )
        raise ValueError(msg)
    _check_values(name, key, column)
    return column


def _check_values(name: str, key: str, column: pd.Series) -> None:
    """Refuse a column of lists or dicts, and text that stands for missing."""
    try:
        values = column.unique()
    except TypeError as error:
        kinds = listed(sorted({type(value).__name__ for value in column}))
        msg = f"{name}={key!r} holds values of type {kinds}, which are no names. Convert them to text or numbers."
        raise TypeError(msg) from error
    found = [value for value in values if is_missing_text(value)]
    if found:
        cells = column.isin(found).to_numpy()
        msg = (
            f"{name}={key!r} has text that stands for missing, {listed(map(repr, found))}, in {int(cells.sum())} of "
            f"{len(column)} cells, first {shown(column.index[cells][0])}. Leave these cells out: "
            f"adata[~adata.obs[{key!r}].isin({found!r})]. If it is meant as a value, rename it, for example to "
            "'not available' or 'untreated'."
        )
        raise ValueError(msg)


def is_missing_text(value: Any) -> bool:
    """Whether a value is text that stands for a missing one, such as "nan"."""
    return isinstance(value, str) and value.strip() in _MISSING_TEXTS


def check_unique_columns(columns: pd.Index, name: str = "adata") -> None:
    """Refuse columns of obs with the same name, also as text."""
    twice = columns.astype(str)[columns.astype(str).duplicated()].unique()
    if len(twice):
        msg = f"{name}.obs has several columns of the same name: {listed(twice)}. Rename or drop them."
        raise ValueError(msg)


def as_names(name: str, key: str, column: pd.Series) -> NDArray[np.object_]:
    """Return a column as strings, refusing two values that would become the same string."""
    if isinstance(column.dtype, pd.CategoricalDtype) and column.dtype.categories.dtype == object:
        column = column.astype(object)  # pandas cannot write categories such as tuples as text
    text = column.astype(str).to_numpy(dtype=object)
    if pd.Series(text).nunique() != column.nunique():
        msg = (
            f"{name}={key!r} holds different values that read the same as text, such as 1 and '1'. Make them one type."
        )
        raise ValueError(msg)
    return text


def check_unique_genes(name: str, genes: pd.Index) -> None:
    """Refuse genes with the same name."""
    if not genes.is_unique:
        found = listed(genes[genes.duplicated()].unique())
        msg = f"{name}.var_names are not unique, found several of {found}. Call {name}.var_names_make_unique() first."
        raise ValueError(msg)


def shortened(text: Any) -> str:
    """Return a text of at most some 80 characters."""
    text = str(text)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def _bounded_repr() -> reprlib.Repr:
    found = reprlib.Repr()
    found.maxstring = found.maxother = found.maxlong = _MAX_SHOWN
    found.maxlevel = 3
    return found


_REPR = _bounded_repr()


def shown(value: Any) -> str:
    """Return a value as messages show it: within some 80 characters, data by their shape, and its type where needed."""
    kind, shape = type(value).__name__, getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:
        return f"{kind} of shape {shape}"
    text = shortened(_REPR.repr(value))
    return text if value is None or isinstance(value, str | Real) else f"{text} of type {kind}"


def listed(items: Any, *, limit: int | None = _MAX_LISTED) -> str:
    """Return a readable list, shortened after `limit` items, and each item to some 80 characters."""
    items = [shortened(item) for item in items]
    if not items:
        return "none"
    if limit is None or len(items) <= limit:
        return ", ".join(items)
    return f"{', '.join(items[:limit])} and {len(items) - limit} more"
