"""The notebooks of the tutorials: how they are stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))
PAGE = ROOT / "docs" / "tutorials.md"


def cells(notebook):
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_stored_without_outputs(notebook):
    code = [cell for cell in cells(notebook) if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_begins_with_a_title_and_links_to_a_guide(notebook):
    text = ["".join(cell["source"]) for cell in cells(notebook) if cell["cell_type"] == "markdown"]
    assert text[0].startswith("# ")
    assert any("{doc}`/how_to/" in part for part in text)


@pytest.mark.skipif(not PAGE.exists(), reason="the source distribution holds no pages")
def test_are_all_on_the_page():
    lines = [line.strip() for line in PAGE.read_text(encoding="utf-8").splitlines()]
    for notebook in NOTEBOOKS:
        first = json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"]
        title = "".join(first).splitlines()[0].removeprefix("# ")
        card = lines.index(f":link: tutorials/{notebook.stem}")
        assert lines[card - 1] == f":::{{grid-item-card}} {title}"
        assert f"tutorials/{notebook.stem}" in lines  # the table of contents
