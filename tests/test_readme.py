"""The README: its links lead somewhere, its commands stay, and its code runs."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
pytestmark = pytest.mark.skipif(
    not (README.is_file() and (README.parent / "docs").is_dir()), reason="needs a checkout: the sdist has no docs"
)


@pytest.fixture(scope="module")
def text():
    return README.read_text(encoding="utf-8")


def test_commands(text):
    for command in ("pip install . && scggml demo", 'pip install -e ".[test]" && pytest'):
        assert f"```bash\n{command}\n```" in text


def test_links_lead_to_files(text):
    links = [link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert len(links) >= 10
    for path, _, heading in links:
        file = README.parent / path
        assert file.exists(), path
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_parts_that_the_docs_include(text):
    included = set()
    for page in (README.parent / "docs").rglob("*.md"):
        for start, end in re.findall(
            r"README\.md\n:start-after: (<!-- begin .* -->)\n:end-before: (<!-- end .* -->)", page.read_text("utf-8")
        ):
            assert end == start.replace("begin", "end") and text.count(start) == text.count(end) == 1
            assert text.index(start) < text.index(end)
            included.add(start)
    assert included == set(re.findall(r"<!-- begin .* -->", text))


def test_figure_is_small(text):
    figure = README.parent / re.search(r"!\[[^]]+\]\((.*\.png)\)", text).group(1)
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 60_000


def test_lines_of_python_run(text, pyplot):
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    small = code.replace("simulated_cohort(40,", "simulated_cohort(12, n_cells=20, n_genes=100, effect_size=2.0,")
    assert small != code
    found = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*number of cells depends on")
        exec(small, found)
    assert found["held_out"].uns["ggml"]["status"] == "held_out" and found["held_out"].n_obs == 12
    assert set(found["adata"].uns["ggml_cross_validation"]["scores"]["method"]) == {"ggml", "euclidean", "pseudobulk"}
