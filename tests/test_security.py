"""What comes from files is data: nothing in it is run, and no text of it becomes code or a path."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import scggml as sg

FILES = sorted(Path(sg.__file__).parent.rglob("*.py"))
# what runs code that is in a file, or text that a user passes
CALLS = {"eval", "exec", "compile", "__import__", "literal_eval", "read_pickle", "extractall", "system", "popen"}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "subprocess", "zipfile", "tarfile", "yaml"}
LOADERS = {"load", "dump", "loads", "dumps", "loadtxt", "genfromtxt", "memmap", "Unpickler"}  # of numpy, joblib, torch
MODULES_OF_LOADERS = {"np", "numpy", "joblib", "torch"}


def offences(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [(node.module or "").split(".")[0], *(alias.name for alias in node.names)]
        if set(names) & MODULES:
            yield f"{path.name}:{node.lineno} imports {', '.join(names)}"
        if isinstance(node, ast.Call):
            function = node.func
            name = getattr(function, "id", None) or getattr(function, "attr", "")
            owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
            if (name in CALLS and owner in ("", "pd", "os", "ast")) or (
                name in LOADERS and owner.split(".")[0] in MODULES_OF_LOADERS
            ):
                yield f"{path.name}:{node.lineno} calls {ast.unparse(function)}"
            for keyword in node.keywords:
                if keyword.arg in ("allow_pickle", "shell") and getattr(keyword.value, "value", True):
                    yield f"{path.name}:{node.lineno} passes {keyword.arg}"


def test_nothing_that_is_read_is_run():
    wrong = [offence for path in FILES for offence in offences(path)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "import yaml", "eval('1')", "np.load(x, allow_pickle=True)",
        "joblib.load(x)", "torch.load(x)", "f(x, allow_pickle=flag)", "os.system(x)", "exec(x)", "pd.read_pickle(x)",
    ],
)  # fmt: skip
def test_the_test_itself(tmp_path, code):
    (tmp_path / "x.py").write_text(code)
    assert list(offences(tmp_path / "x.py"))


def test_html_is_written_by_the_report_alone():
    """There is nothing to escape as long as there is no markup. How the report escapes is tested with it."""
    wrong = [
        path.name
        for path in FILES
        if path.parent.name != "_report"
        and ("</" in path.read_text(encoding="utf-8") or "_repr_html_" in path.read_text(encoding="utf-8"))
    ]
    assert not wrong, wrong


def test_pages_are_escaped_but_for_our_own_files():
    folder = Path(sg.__file__).parent / "_report"
    assert "autoescape=True" in (folder / "_page.py").read_text(encoding="utf-8")
    page = (folder / "templates" / "report.html").read_text(encoding="utf-8")
    assert re.findall(r"{{ ([^}]*) \| safe }}", page) == [
        "hashes",
        "style",
        "script",
    ]  # files of the package, checksums
    assert "Markup" not in "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
