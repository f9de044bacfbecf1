"""The notebooks of the tutorials: how they are stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))
PAGE = ROOT / "docs" / "tutorials.md"
CONF = ROOT / "docs" / "conf.py"
WITH_DOWNLOADS = {"kidney_biopsies", "leukaemia"}  # their outputs are stored: not all machines can download


def cells(notebook):
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def code_cells(notebook):
    return [cell for cell in cells(notebook) if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_stored_without_outputs_or_as_it_was_executed(notebook):
    code = code_cells(notebook)
    assert code
    if notebook.stem in WITH_DOWNLOADS:
        assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
        assert all("execution" not in cell["metadata"] for cell in code)  # no times, which differ from run to run
    else:
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.parametrize("name", sorted(WITH_DOWNLOADS))
def test_stored_outputs_hold_figures_and_tables_and_no_errors(name):
    outputs = [output for cell in code_cells(ROOT / "tutorials" / f"{name}.ipynb") for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert sum("text/html" in output.get("data", {}) for output in outputs) >= 2
    assert not any(output["output_type"] == "error" or output.get("name") == "stderr" for output in outputs)


@pytest.mark.skipif(not CONF.exists(), reason="the source distribution holds no pages")
def test_only_tutorials_with_downloads_are_not_always_executed():
    conf = CONF.read_text(encoding="utf-8")
    assert {notebook.stem for notebook in NOTEBOOKS if f'"tutorials/{notebook.name}"' in conf} == WITH_DOWNLOADS
    script = CONF.with_name("store_tutorials.py").read_text(encoding="utf-8")
    assert {notebook.stem for notebook in NOTEBOOKS if f'"{notebook.stem}"' in script} == WITH_DOWNLOADS


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
