"""Kinds of values that stored entries must hold, and their check when an entry is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml._data import LARGEST

from ._writing import plain

Fault: TypeAlias = tuple[tuple[str, ...], str]  # names of the fields that lead there, and what should be there


class Wanted(Protocol):
    """A kind of value. `fault` says what is wrong with one, or returns None; `sizes` holds the dimensions known."""

    @property
    def optional(self) -> bool:
        """Whether a field may be missing."""

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        """Return a fault within the value, or None."""


@dataclass(frozen=True)
class Numbers:
    """An array of numbers; dimensions of the same name have the same size within an entry."""

    shape: tuple[str | int, ...]
    minimum: float | None = None
    above: float | None = None
    integers: bool = False
    finite: bool = True
    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        array = _as_array(value)
        kind = "integers" if self.integers else "numbers"
        bounds = "" if self.minimum is None else f", at least {self.minimum:g}"
        bounds += "" if self.above is None else f", greater than {self.above:g}"
        known = " x ".join(str(sizes.get(str(name), name)) for name in self.shape)
        text = f"hold {known}{' finite' if self.finite else ''} {kind}{bounds}"
        if array is None or array.dtype.kind not in ("iu" if self.integers else "iuf"):
            return (), text
        if array.ndim == 0 and len(self.shape) == 1:  # some readers make one value of an array of length one
            array = array.reshape(1)
        lengths = zip(self.shape, array.shape, strict=False)
        expected = tuple(sizes.get(str(name), name if isinstance(name, int) else n) for name, n in lengths)
        if array.ndim != len(self.shape) or array.shape != expected:
            return (), text
        low = (self.minimum is None or (array >= self.minimum).all()) and (
            self.above is None or (array > self.above).all()
        )
        if not low or (self.finite and not np.isfinite(array).all()) or np.isnan(array).any():
            return (), text
        if float(np.abs(array[np.isfinite(array)]).max(initial=0)) > LARGEST:
            return (), f"hold numbers of at most {LARGEST:g} in size"
        sizes.update(zip(map(str, self.shape), array.shape, strict=True))
        return None


@dataclass(frozen=True)
class Number:
    """One number."""

    minimum: float | None = None
    above: float | None = None
    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        array = _as_array(value)
        bounds = "" if self.minimum is None else f" of at least {self.minimum:g}"
        bounds += "" if self.above is None else f" greater than {self.above:g}"
        one = array is not None and array.size == 1 and array.dtype.kind in "iuf" and np.isfinite(array).all()
        if array is None or not one:
            return (), f"be a finite number{bounds}"
        number = float(array.ravel()[0])
        low = (self.minimum is None or number >= self.minimum) and (self.above is None or number > self.above)
        return None if low else ((), f"be a finite number{bounds}")


@dataclass(frozen=True)
class Flag:
    """True or false."""

    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        array = _as_array(value)
        return None if array is not None and array.size == 1 and array.dtype.kind == "b" else ((), "be true or false")


@dataclass(frozen=True)
class Text:
    """A text, one of the choices if there are any."""

    choices: tuple[str, ...] = ()
    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        texts = _as_texts(value)
        if texts is not None and len(texts) == 1 and (not self.choices or texts[0] in self.choices):
            return None
        return (), f"be one of {', '.join(map(repr, self.choices))}" if self.choices else "be a text"


@dataclass(frozen=True)
class Texts:
    """An array of texts."""

    size: str
    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        texts = _as_texts(value)
        if texts is None or len(texts) != sizes.get(self.size, len(texts)):
            return (), f"hold {sizes.get(self.size, '')} texts".replace("  ", " ")
        sizes[self.size] = len(texts)
        return None


@dataclass(frozen=True)
class Table:
    """A data frame with some columns, of numbers where `numeric` names them."""

    columns: tuple[str, ...]
    numeric: tuple[str, ...] = ()
    size: str | None = None
    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        rows = "" if self.size is None else f" of {sizes.get(self.size, 'some')} rows"
        names = ", ".join((*self.columns, *self.numeric)) or "any names"
        text = f"be a data frame{rows} with the columns {names}"
        if not isinstance(value, pd.DataFrame) or not value.columns.is_unique:
            return (), text
        if not {*self.columns, *self.numeric} <= set(value.columns):
            return (), text
        if self.size is not None and len(value) != sizes.setdefault(self.size, len(value)):
            return (), text
        for name in self.numeric:
            if not pd.api.types.is_numeric_dtype(value[name]) or pd.api.types.is_bool_dtype(value[name]):
                return (name,), "hold numbers"
        return None


@dataclass(frozen=True)
class Entry:
    """A mapping with these fields; others may be there too. `rule` is about several of them, as `fault`."""

    fields: Mapping[str, Wanted] = field(default_factory=dict)
    rule: Callable[[Mapping[str, Any]], Fault | None] | None = None
    optional: bool = False

    def fault(self, value: Any, sizes: dict[str, int]) -> Fault | None:
        if not isinstance(value, Mapping):
            return (), "be a mapping"
        for name, wanted in self.fields.items():
            found = value.get(name)
            if found is None:
                if wanted.optional:
                    continue
                return (name,), "be there"
            fault = wanted.fault(found, sizes)
            if fault is not None:
                where, what = fault
                return (name, *where), what
        return None if self.rule is None else self.rule(value)


def check_entry(value: Any, wanted: Wanted, text: str, remedy: str) -> None:
    """Refuse a stored entry that is not as it was written.

    Parameters
    ----------
    value
        What is stored.
    wanted
        What it must look like.
    text
        Where it is stored, such as "uns['ggml']".
    remedy
        How to make it again.

    Raises
    ------
    ValueError
        If a field is missing, of another kind, shape or range. The message names it.
    """
    fault = wanted.fault(value, {})
    if fault is None:
        return
    path, what = fault
    found = value
    for name in path:
        found = found[name] if isinstance(found, Mapping | pd.DataFrame) and name in found else None
    where, found = "".join(f"[{name!r}]" for name in path), _described(found)
    msg = f"{text}{where} must {what}, found {found}: the entry was damaged, or not made by scggml. {remedy}"
    raise ValueError(msg)


def read_entry(value: Any, wanted: Wanted, text: str, remedy: str, name: str = "") -> dict[str, Any]:
    """Return a stored entry that is as it was written, with Python's numbers and text: `check_entry`, then `plain`."""
    check_entry(value, wanted, text, remedy)
    found: dict[str, Any] = plain(value, name)
    return found


def _described(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, pd.DataFrame):
        return f"a data frame of shape {value.shape} with the columns {', '.join(map(str, value.columns[:10]))}"
    if isinstance(value, np.ndarray | pd.Series) and np.size(value) != 1:
        kind = value.dtype
        n_bad = int((~np.isfinite(value)).sum()) if kind.kind == "f" else 0
        return f"{kind} of shape {value.shape}" + (f" with {n_bad} values that are NaN or infinite" if n_bad else "")
    return check.shown(value)


def _as_array(value: Any) -> np.ndarray | None:
    """Return an array without hidden values, or None."""
    if isinstance(value, str | bytes | Mapping | pd.DataFrame) or np.ma.is_masked(value):
        return None
    try:
        return np.asarray(value)
    except (ValueError, TypeError):  # lists of unequal length
        return None


def _as_texts(value: Any) -> list[str] | None:
    array = np.array([value]) if isinstance(value, str) else _as_array(value)
    if array is None or array.ndim > 1 or array.dtype.kind not in "OUT":
        return None
    texts = array.ravel().tolist()
    return texts if all(isinstance(text, str) for text in texts) else None
