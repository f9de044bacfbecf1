"""Texts of parameters that functions share."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import scggml as sg
from scggml import _docs
from scggml._docs import TEXTS, shared_doc

ROOT = Path(sg.__file__).parent


def uses():
    """Return which texts are used in which files."""
    files = [path for path in ROOT.rglob("*.py") if path.name != "_docs.py"]
    found = {path: re.findall(r"^ *%\((\w+)\)s *$", path.read_text(encoding="utf-8"), re.MULTILINE) for path in files}
    return {path: names for path, names in found.items() if names}


def test_lines_become_entries():
    @shared_doc
    def function(adata: int, n: int = 3, *, copy: bool = False) -> float:
        r"""Do it with :math:`\frac{a}{b}` of {x} and 95 %.

        Parameters
        ----------
        %(adata)s
            More of it.
        n
            A number, as %(copy)s or %s.
        %(copy)s

        Returns
        -------
        A float.
        """
        return float(n)

    assert inspect.getdoc(function).splitlines() == [
        r"Do it with :math:`\frac{a}{b}` of {x} and 95 %.",
        "",
        "Parameters",
        "----------",
        "adata",
        f"    {TEXTS['adata']}",
        "    More of it.",
        "n",
        "    A number, as %(copy)s or %s.",
        "copy",
        f"    {TEXTS['copy']}",
        "",
        "Returns",
        "-------",
        "A float.",
    ]
    assert function.__name__ == "function" and function(0, 2) == 2.0
    assert str(inspect.signature(function)) == "(adata: 'int', n: 'int' = 3, *, copy: 'bool' = False) -> 'float'"


@pytest.mark.parametrize("indent", ["", "  ", "        "])
@pytest.mark.parametrize("name", TEXTS)
def test_any_indentation(name, indent):
    class Something:
        __doc__ = f"Title.\n{indent}%({name})s\n{indent}other"

    title, parameter, *text, other = shared_doc(Something).__doc__.split("\n")
    assert (title, other) == ("Title.", f"{indent}other")
    assert parameter == indent + {"key_distances": "key", "key_explanation": "key", "pdata_explained": "pdata"}.get(
        name, name
    )
    assert all(re.match(rf"{indent}    \S", line) and len(line) <= 124 for line in text)
    assert " ".join(line.strip() for line in text) == TEXTS[name]


def test_unknown_names_are_refused():
    def function() -> None:
        """Do it.

        %(nothing)s
        """

    with pytest.raises(KeyError, match=r"function has %\(nothing\)s, which is not a shared text\. There are: adata, "):
        shared_doc(function)


def test_without_docstrings():
    code = "import scggml as sg; assert sg.pp.sketch.__doc__ is None; print('fine')"
    done = subprocess.run([sys.executable, "-OO", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "fine"


def test_other_names_of_texts_are_texts():
    assert set(_docs._PARAMETERS) <= set(TEXTS)


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in uses()])
def test_files_with_uses_apply_the_decorator(path):
    assert "@shared_doc\n" in path.read_text(encoding="utf-8")
    part, name = path.parent.name, path.stem.removeprefix("_")
    if name in getattr(getattr(sg, part, None), "__all__", ()):
        assert not re.search(r"%\(\w+\)s", getattr(getattr(sg, part), name).__doc__)


def test_every_text_is_used():
    found = uses()
    for part in ("tl", "pl", "get"):
        assert any(path.parent.name == part for path in found), f"{part} uses no shared text"
    counts = {name: sum(names.count(name) for names in found.values()) for name in TEXTS}
    assert not [name for name, count in counts.items() if count < 2]  # a text of one function stands there
