"""What each argument of a public function may be, declared once and checked before the function does anything."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeAlias, TypeVar

import numpy as np
import pandas as pd

from scggml import _check as check
from scggml.core.metric._targets import LABEL_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from matplotlib.axes import Axes

    Rule: TypeAlias = Callable[[str, Any], object]  # raises what is wrong with the argument of this name

P = ParamSpec("P")
R = TypeVar("R")


def checked(**own: Rule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check all arguments of a function when it is called: by `SHARED`, or by a rule of the function's own.

    None is admitted where it is the default.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        rules = {
            name: optional(rule) if parameter.default is None else rule
            for name, parameter in signature.parameters.items()
            for rule in [own[name] if name in own else SHARED[name]]
        }
        assert set(own) <= set(rules), f"{function.__qualname__} has no argument {set(own) - set(rules)}"

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError:  # Python's own error, which names the function
                return function(*args, **kwargs)
            check_all(given, rules)
            return function(*args, **kwargs)

        return call

    return decorate


def check_all(given: Mapping[str, Any], rules: Mapping[str, Rule], *, of: str = "") -> None:
    """Check arguments by their rules; messages add `of` to their names."""
    for name, value in given.items():
        rules[name](f"{name}{of}", value)


# rules: each takes the name of the argument and its value


def integer(minimum: int) -> Rule:
    """A whole number that is not below a bound."""
    return lambda name, value: check.check_integer(name, value, minimum=minimum)


def integers(minimum: int) -> Rule:
    """A whole number that is not below a bound, or a list of different ones."""

    def check_integers(name: str, value: Any) -> None:
        values = list(value) if isinstance(value, list | tuple | range | np.ndarray) and np.ndim(value) else [value]
        if not values:
            msg = f"{name} must not be empty"
            raise ValueError(msg)
        for one in values:
            check.check_integer(name, one, minimum=minimum)
        if len(set(values)) < len(values):
            msg = f"{name} holds the same number more than once: {check.listed(values)}"
            raise ValueError(msg)

    return check_integers


def number(*, minimum: float | None = None, above: float | None = None, maximum: float | None = None) -> Rule:
    """A finite number within bounds."""
    return lambda name, value: check.check_number(name, value, minimum=minimum, above=above, maximum=maximum)


def choice(*choices: Any) -> Rule:
    """One of several texts, or other values."""
    return lambda name, value: check.check_choice(name, value, choices)


def either(*choices: Any, otherwise: str, rule: Rule) -> Rule:
    """One of several values, or what a rule admits, which `otherwise` names for messages."""
    has_texts = any(isinstance(known, str) for known in choices)

    def check_either(name: str, value: Any) -> None:
        if check.is_among(value, choices):
            return
        if isinstance(value, str) and has_texts:
            check.check_choice(name, value, choices, otherwise=otherwise)
        try:
            rule(name, value)
        except TypeError:
            allowed = ", ".join(repr(known) for known in choices)
            msg = f"{name} must be {allowed} or {otherwise}, found {check.shown(value)}"
            raise TypeError(msg) from None

    return check_either


def optional(rule: Rule) -> Rule:
    """None, or what a rule admits."""
    return lambda name, value: None if value is None else rule(name, value)


def text(what: str) -> Rule:
    """Text; `what` says what it names."""
    return lambda name, value: check.check_text(name, value, what)


def several(what: str) -> Rule:
    """A list, or another collection, of labels or names: text, or numbers that are taken as text."""
    return lambda name, value: check.check_list(name, value, what)


def columns(name: str, value: Any) -> None:
    """The name of a column of obs, or a list of several."""
    if isinstance(value, str):
        check.check_text(name, value, "the name of a column of obs")
        return
    check.check_names(name, value, "names of columns of obs")
    if not len(value):
        msg = f"{name} is an empty list. Pass at least one column of obs, or leave {name} out."
        raise ValueError(msg)


def anything(name: str, value: Any) -> None:
    """What has so many forms that it is checked where it is read."""


def axes(name: str, value: Any) -> None:
    """Axes of matplotlib that a plot can be drawn on."""
    from matplotlib.axes import Axes

    if not isinstance(value, Axes):
        several = ". Pass one of them, such as ax[0]." if isinstance(value, np.ndarray | list | tuple) else ""
        msg = f"{name} must be axes of matplotlib or None, found {check.shown(value)}{several}"
        raise TypeError(msg)
    if value.name != "rectilinear":
        msg = (
            f"{name} must be axes with two straight axes, found the projection {value.name!r}. Make them with "
            "plt.subplots()."
        )
        raise ValueError(msg)
    if value.figure is None or not _is_among(value, value.figure.axes):
        msg = f"{name} was removed from its figure. Pass axes of a figure, or None for a new one."
        raise ValueError(msg)


def _is_among(ax: Axes, several: Iterable[Any]) -> bool:
    return any(other is ax or _is_among(ax, other.child_axes) for other in several)


def color(name: str, value: Any) -> None:
    """The name of one column."""
    if isinstance(value, list | tuple | set | pd.Index | np.ndarray):
        msg = (
            f"{name} must be one column, found {check.shown(value)}. Draw one plot for each column: fig, axes = "
            "plt.subplots(1, 2), and then color='a', ax=axes[0] and color='b', ax=axes[1]."
        )
        raise TypeError(msg)
    check.check_text(name, value, "the name of a column")


flag, path = check.check_flag, check.check_path
_OBS_COLUMN = text("the name of a column of obs")

SHARED: Final[dict[str, Rule]] = {
    "adata": check.check_anndata,
    "ax": axes,
    "backed": flag,
    "batch_key": _OBS_COLUMN,
    "cache_dir": path,
    "cell_type_key": _OBS_COLUMN,
    "classes": several("classes"),
    "color": color,
    "copy": flag,
    "cv": anything,
    "donor_key": _OBS_COLUMN,
    "key": check.check_name,
    "key_added": check.check_name,
    "label_key": _OBS_COLUMN,
    "label_kind": choice(*LABEL_KINDS),
    "layer": text("a key of layers"),
    "n_jobs": check.check_jobs,
    "new": check.check_anndata,
    "pdata": check.check_anndata,
    "reference": check.check_anndata,
    "rng": check.check_random_generator,
    "sample_key": _OBS_COLUMN,
    "sketch_key": optional(text("the key of a sketch")),
    "use_rep": optional(text("'X' or a key of obsm")),
}
