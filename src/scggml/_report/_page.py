"""The page of a report: its template, with everything that it needs embedded."""

from __future__ import annotations

import base64
import hashlib
import importlib
from dataclasses import fields
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from ._texts import number, p_value, percent, several

if TYPE_CHECKING:
    from jinja2 import Template

    from ._contents import Contents

_NEEDED = ("jinja2", "plotly")
_FOLDER = files("scggml") / "_report" / "templates"


def check_installed() -> None:
    """Refuse to begin without the libraries of the page."""
    for name in _NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            msg = f'a report needs {name}. Install it: pip install "scggml[report]"'
            raise ImportError(msg) from error


def rendered(contents: Contents) -> str:
    """Return the page. Texts of the user are escaped, in the page and in the data of its figures."""
    plotly, script = _plotly_script(), (_FOLDER / "figures.js").read_text(encoding="utf-8")
    shown = {field.name: getattr(contents, field.name) for field in fields(contents)}
    return _template().render(
        **shown,
        style=(_FOLDER / "style.css").read_text(encoding="utf-8"),
        scripts=[plotly, script],
        # the browser runs these two scripts and no other, wherever a text might have come through
        hashes=" ".join(f"'sha256-{_digest(text)}'" for text in (plotly, script)),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "p_value": p_value, "percent": percent, "several": several}
    return environment.from_string((_FOLDER / "report.html").read_text(encoding="utf-8"))


@cache
def _plotly_script() -> str:
    from plotly.offline import get_plotlyjs

    # browsers take both ends of line for one another before they compare checksums
    return str(get_plotlyjs()).replace("\r\n", "\n").replace("\r", "\n")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
