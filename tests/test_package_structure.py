"""The house rules, read from the source."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from pathlib import Path

import pytest

import scggml as sg
from scggml.core.metric._problem import TrainingOptions

ROOT = Path(sg.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in FILES]
HELPERS = {"_cohort", "_joint", "_keys", "_labels", "_reference", "_samples", "_storage", "_stored", "_validation"}
# part: what it may import of this package
ALLOWED = {
    "core": {"core"},
    "estimators": {"estimators", "core", "_validation"},
    "evaluation": {"evaluation", "estimators", "core", "_validation"},
    "datasets": {"datasets", "_validation"},
    "get": {"get", "evaluation", "core"} | HELPERS,
    "pp": {"pp", "core", "estimators"} | HELPERS,
    "tl": {"tl", "get", "evaluation", "core", "estimators"} | HELPERS,
    "pl": {"pl", "get", "tl", "evaluation", "core", "estimators"} | HELPERS,
    "_keys": set(),
    "_validation": set(),
    "_reference": {"_cohort", "_keys", "_storage", "_stored", "_validation", "core"},
    "_storage": {"core"},
    "_stored": {"_keys", "_storage", "_validation", "_cohort", "core"},
    "_joint": {"_cohort", "_storage", "_validation", "core"},
    "_labels": {"_cohort", "_validation", "core"},
    "_samples": {"_cohort", "_labels", "_validation", "core", "evaluation"},
    "_cohort": {"_keys", "_storage", "_validation", "core"},
}
VERBS = [(part, name) for part in ("pp", "tl", "pl", "get", "datasets") for name in getattr(sg, part).__all__]
CALLABLES = [
    *(pytest.param(getattr(getattr(sg, part), name), id=f"{part}.{name}") for part, name in VERBS),
    *(
        pytest.param(member, id=f"{cls.__name__}.{name}")
        for cls in (sg.GroundMetricLearner, sg.OTNeighborsClassifier)
        for name, member in vars(cls).items()
        if callable(member) and (not name.startswith("_") or name == "__init__")
    ),
]


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def part_of(path):
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def imported(path):
    """Absolute dotted names that a file imports, type-only imports included."""
    package = ("scggml", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_nothing_is_missing_from_this_test():
    parts = {part_of(path) for path in FILES} - {"__init__", "cli"}
    assert parts == set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_point_one_way(path):
    part = part_of(path)
    if part in ("__init__", "cli"):  # the top may see everything
        return
    own = {name.split(".")[1] for name in imported(path) if name.startswith("scggml.")}
    assert "scggml" not in set(imported(path))
    # `from scggml import x` reads "scggml.x" like the rest
    assert own <= ALLOWED[part]


def test_nothing_imports_the_command_line():
    for path in FILES:
        assert not [name for name in imported(path) if name.startswith("scggml.cli")], path


@pytest.mark.parametrize("path", [p for p in FILES if part_of(p) in ("core", "estimators")], ids=str)
def test_numbers_know_no_anndata_and_no_plot(path):
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & {"anndata", "scanpy", "matplotlib", "seaborn", "mudata", "pandas"}


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_nothing_is_printed_outside_the_command_line(path):
    calls = [node.func for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    prints = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
    assert not prints or path.name == "cli.py"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_no_global_setting_is_changed(path):
    forbidden = {"seed", "set_num_threads", "manual_seed", "simplefilter", "filterwarnings", "set_theme", "set_style"}
    tree = parsed(path)
    guarded = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.With) and "catch_warnings" in ast.unparse(block.items[0].context_expr)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and id(node) not in guarded:
            assert node.func.attr not in forbidden, ast.unparse(node)
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("rcParams", "environ"), ast.unparse(node)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_all_is_sorted_and_holds(path):
    for node in parsed(path).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            names = ast.literal_eval(node.value)
            module = importlib.import_module(
                ".".join(["scggml", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
            )
            # as ruff sorts: constants, classes, the rest
            order = sorted(names, key=lambda n: (0 if n.isupper() else 1 if n[0].isupper() else 2, n))
            assert names == order
            assert all(hasattr(module, name) for name in names)


@pytest.mark.parametrize(("part", "name"), VERBS)
def test_one_verb_per_file_of_its_name(part, name):
    path = ROOT / part / f"_{name}.py"
    assert path.is_file()
    public = [n.name for n in parsed(path).body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    verb = getattr(getattr(sg, part), name)
    assert verb.__module__ == f"scggml.{part}._{name}" and verb.__name__ == name
    assert name in public


@pytest.mark.parametrize("part", ["pp", "tl", "pl", "get", "datasets"])
def test_every_verb_has_tests(part):
    tests = Path(__file__).parent / part
    for name in getattr(sg, part).__all__:
        assert (tests / f"test_{name}.py").is_file()


@pytest.mark.parametrize("part", ["pp", "tl", "pl", "get", "datasets"])
def test_every_public_file_is_exported(part):
    module = getattr(sg, part)
    shared = {
        "_axes",
        "_download",
        "_explained_parts",
        "_gene_sets",
        "_known_distances",
        "_sample_graph",
        "_simulation",
    }  # helpers of several verbs
    files = {path.stem for path in (ROOT / part).glob("_*.py")} - {"__init__"} - shared
    assert files == {f"_{name}" for name in module.__all__}


@pytest.mark.parametrize(("part", "name"), VERBS)
def test_docstrings_have_all_sections(part, name):
    verb = getattr(getattr(sg, part), name)
    text = inspect.getdoc(verb)
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"\n{section}\n{'-' * len(section)}\n" in text, section
    assert ">>> " in text
    documented = text.split("\nParameters\n")[1].split("\nReturns\n")[0]
    lines = {n.strip() for line in documented.splitlines() if not line.startswith(" ") for n in line.split(",")}
    parameters = set(inspect.signature(verb).parameters)
    assert parameters == lines & parameters, parameters - lines
    assert not {line for line in lines if line.isidentifier()} - parameters  # nothing that is gone


@pytest.mark.parametrize("cls", [sg.GroundMetricLearner, sg.OTNeighborsClassifier])
def test_estimators_document_their_parameters(cls):
    text = inspect.getdoc(cls)
    for name in inspect.signature(cls.__init__).parameters:
        assert name == "self" or f"\n{name}\n    " in text
    assert "\nAttributes\n" in text and ">>> " in text


@pytest.mark.parametrize("function", CALLABLES)
def test_signatures(function):
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in parameters)
    assert not [p for p in parameters if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert len(positional) <= 3
    assert not [p for p in positional if isinstance(p.default, bool)]
    assert not [p for p in parameters if isinstance(p.default, list | dict | set)]


def test_defaults_agree():
    verb = {name: p.default for name, p in inspect.signature(sg.tl.fit_metric).parameters.items()}
    learner = {name: p.default for name, p in inspect.signature(sg.GroundMetricLearner).parameters.items()}
    core = {field.name: field.default for field in dataclasses.fields(TrainingOptions)}
    assert set(core) | {"label_kind", "rng", "n_jobs"} == set(learner) <= set(verb)
    for name in learner:
        assert verb[name] == learner[name]
        assert name in ("label_kind", "rng", "n_jobs", "scale") or core[name] == learner[name]
        assert type(verb[name]) is type(learner[name])
    assert learner["scale"] == "auto" and core["scale"] == "feature"


def test_annotations_agree():
    verb = inspect.signature(sg.tl.fit_metric).parameters
    learner = inspect.signature(sg.GroundMetricLearner).parameters
    for name in learner:
        assert verb[name].annotation == learner[name].annotation


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_files_can_be_read_in_one_sitting(path):
    # numba's cache on disk sees changes of the file itself only: what is compiled together stays together
    limit = 560 if path.name == "_network_simplex.py" else 400
    assert len(path.read_text(encoding="utf-8").splitlines()) < limit
