"""The house rules, read from the source. Each test collects all offenders."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import tomllib
from pathlib import Path

import scggml as sg
from scggml.core.metric._options import TrainingOptions
from scggml.core.transport._solvers import Exact

ROOT = Path(sg.__file__).parent
TESTS = Path(__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}

BOTTOM = {"_check", "_check_samples", "_data", "_docs", "_keys", "_strata", "_warnings"}
CORE = {"core.measures", "core.transport", "core.metric", "core"}
READERS = BOTTOM | CORE | {"_arguments", "estimators", "evaluation", "explanation", "reference", "_anndata"}
# part: what it may import of this package beside itself
ALLOWED = {
    **{name: set() for name in BOTTOM},
    "_arguments": BOTTOM | CORE,
    "_check_samples": {"_check"},
    "_data": {"_check"},
    "core.measures": set(),
    "core.transport": {"core.measures", "_warnings"},
    "core.metric": {"core.measures", "core.transport"},
    "core": CORE,
    "estimators": BOTTOM | CORE | {"_arguments"},
    "evaluation": BOTTOM | CORE | {"estimators"},
    "explanation": BOTTOM | CORE | {"estimators"},
    "reference": BOTTOM | CORE | {"estimators"},  # and the type of one argument, see ONE_TYPE
    "_anndata": READERS,
    "pp": READERS,
    "tl": READERS,
    "get": READERS,
    "pl": READERS | {"get"},
    "_report": READERS | {"get", "tl", "pl"},
    "datasets": {"_arguments", "_check", "_docs"},
}
ONE_TYPE = ("reference", "evaluation._splits.Split")
NUMBERS = ("core", "estimators", "evaluation", "explanation", "reference")
# loaded by the functions that need them
HEAVY = {
    *("torch", "ot", "matplotlib", "seaborn", "scanpy", "umap", "decoupler", "dask", "distributed", "dask_jobqueue"),
    *("mudata", "pooch", "pymanopt", "requests", "plotly", "jinja2"),
}
IN_FUNCTIONS = HEAVY | {"anndata", "sklearn"}
EMPTY_INITS = ("core", "core/measures", "core/transport", "core/metric", "evaluation", "explanation", "reference", "_anndata", "_report")  # fmt: skip

NAMESPACES = ("pp", "tl", "pl", "get", "datasets")
FUNCTIONS = {
    f"{part}.{name}": getattr(getattr(sg, part), name) for part in NAMESPACES for name in getattr(sg, part).__all__
} | {"_report.report": sg.report}
CLASSES = {
    "GroundMetricLearner": sg.GroundMetricLearner,
    "OTNeighborsClassifier": sg.OTNeighborsClassifier,
    "Refinement": sg.Refinement,
    "Sinkhorn": sg.Sinkhorn,
}
METHODS = {
    f"{name}.{method}": member
    for name, cls in CLASSES.items()
    for method, member in vars(cls).items()
    if callable(member) and (not method.startswith("_") or method == "__init__")
}
# shared names with a meaning of their own in some functions
VARIANTS = {
    "sample_key": {"tl.map_samples", "tl.sample_distances"},  # None takes the column of the metric
    "label_key": {"pp.filter_samples", "tl.class_barycenters", "tl.explain_distances", "tl.order_samples"},
    "key_added": {"tl.cluster_samples", "tl.sample_distances"},  # None follows key
    "sketch_key": {"tl.sample_distances"},  # False takes all cells
    "n_points": {"tl.class_barycenters"},
    "n_cells": {"tl.power"},  # all samples have the same number, and there may be several
    "mapped": {"_report.report"},  # there may be no new samples
    "color": {"pl.distance_heatmap"},  # several columns are tracks
    "cv": {"tl.tune"},  # nested folds are too many for leave-one-out
}
# the same word for different things
HOMONYMS = {
    "cv": {"tl.sample_distances"},  # None takes the one metric that has seen all labels
    "use_rep": {"pp.join_modalities"},
    "key_added": {"pp.sketch"},
    "method": {"tl.enrich_genes", "pl.predictions"},
    "what": {"pl.predictions"},
    "n_cells": {"datasets.simulated_cohort"},
    "basis": {"pl.cells"},
    "n_samples": {"tl.power"},
    "n_genes": {"get.explanation", "datasets.simulated_cohort"},
}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def part_of(dotted):
    """The part of the house that a module of this package belongs to, from its dotted name without the package."""
    first, *rest = dotted.split(".")
    inner = f"core.{rest[0]}" if first == "core" and rest else ""
    return inner if inner in CORE else first


def absolute(path, node):
    """Absolute dotted names that an import statement brings in."""
    package = ("scggml", *path.relative_to(ROOT).parts[:-1])
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = package[: len(package) - node.level + 1] if node.level else ()
    module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
    return [f"{module}.{alias.name}" for alias in node.names]


def imports_of(path, within=None):
    """Names that a file, or a part of its tree, imports, type-only imports included."""
    for node in ast.walk(TREES[path] if within is None else within):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in absolute(path, node):
                yield name, node


def functions_of(path):
    return [node for node in ast.walk(TREES[path]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def where(path, node):
    return f"{name_of(path)}:{node.lineno}"


def test_imports_go_down_only():
    parts = {part_of(".".join(path.relative_to(ROOT).with_suffix("").parts)) for path in FILES}
    assert parts - {"__init__", "cli"} == set(ALLOWED), "a part of the package is missing from this test"
    wrong = []
    for path in FILES:
        part = part_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        if part in ("__init__", "cli"):  # the top may see everything
            continue
        for name, node in imports_of(path):
            root, _, own = name.partition(".")
            if root != "scggml" or (part, own) == ONE_TYPE:
                continue
            if part_of(own) not in ALLOWED[part] | {part}:
                wrong.append(f"{where(path, node)} imports {name}, which {part} must not know")
    assert not wrong, "\n".join(wrong)


def test_only_a_type_is_shared_between_reference_and_evaluation():
    shared = [
        (path, node)
        for path in FILES
        if name_of(path).startswith("reference/")
        for name, node in imports_of(path)
        if name == f"scggml.{ONE_TYPE[1]}"
    ]
    assert shared
    for path, node in shared:
        assert any(node in block.body for block in TREES[path].body if is_type_checking(block)), where(path, node)


def test_nothing_imports_the_command_line():
    outside = [path for path in FILES if not name_of(path).startswith("cli/")]
    wrong = [where(path, node) for path in outside for name, node in imports_of(path) if name.startswith("scggml.cli")]
    assert not wrong, wrong


def test_numbers_know_no_anndata_and_no_plot():
    wrong = []
    for path in FILES:
        part = path.relative_to(ROOT).parts[0]
        forbidden = {"anndata", "scanpy", "mudata", "matplotlib", "seaborn"} | ({"pandas"} if part == "core" else set())
        if part in NUMBERS:
            wrong += [
                f"{where(path, node)} imports {name}"
                for name, node in imports_of(path)
                if name.split(".")[0] in forbidden
            ]
    assert not wrong, "\n".join(wrong)


def test_imports_are_at_the_top_except_heavy_ones():
    """`__init__` loads lazily, and the command line starts fast: theirs are inside functions."""
    wrong = []
    for path in FILES:
        if name_of(path) in ("__init__.py", "cli/__init__.py"):
            continue
        for function in functions_of(path):
            wrong += [
                f"{where(path, node)} imports {name} inside {function.name}"
                for name, node in imports_of(path, function)
                if name.split(".")[0] not in IN_FUNCTIONS
            ]
    assert not wrong, "\n".join(wrong)


def test_heavy_imports_are_inside_functions():
    wrong = []
    for path in FILES:
        inside = {id(node) for function in functions_of(path) for node in ast.walk(function)}
        inside |= {id(node) for block in TREES[path].body if is_type_checking(block) for node in ast.walk(block)}
        wrong += [
            f"{where(path, node)} imports {name} at the top"
            for name, node in imports_of(path)
            if name.split(".")[0] in HEAVY and id(node) not in inside
        ]
    assert not wrong, "\n".join(wrong)


def test_inner_packages_export_nothing():
    wrong = []
    for folder in EMPTY_INITS:
        body = TREES[ROOT / folder / "__init__.py"].body
        if len(body) != 1 or not isinstance(body[0], ast.Expr):
            wrong.append(f"{folder}/__init__.py must hold a docstring only")
    assert not wrong, "\n".join(wrong)


def test_files_can_be_read_in_one_sitting():
    # numba's cache on disk sees changes of the file itself only: what is compiled together stays together
    limits = {"core/transport/_network_simplex.py": 560}
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    wrong = {name: length for name, length in lengths.items() if length > limits.get(name, 400)}
    assert not wrong, wrong


def test_no_line_above_120_columns():
    wrong = [
        f"{name_of(path)}:{i} has {len(line)} columns"
        for path in FILES
        for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if len(line) > 120
    ]
    assert not wrong, "\n".join(wrong)


def test_functions_of_tl_are_glue():
    """At most 75 lines of code, without signature, docstring, comments and blank lines."""
    lengths = {}
    for name in sg.tl.__all__:
        path = ROOT / "tl" / f"_{name}.py"
        function = next(node for node in TREES[path].body if getattr(node, "name", "") == name)
        lines = path.read_text(encoding="utf-8").splitlines()[function.body[1].lineno - 1 : function.end_lineno]
        lengths[name] = sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)
    wrong = {name: length for name, length in lengths.items() if length > 75}
    assert not wrong, wrong


def test_there_are_few_parameters():
    counts = {name: len(inspect.signature(function).parameters) for name, function in FUNCTIONS.items()}
    assert counts["tl.fit_metric"] <= 17
    many = {name: count for name, count in counts.items() if count > 17}
    assert not many, many
    assert len(inspect.signature(sg.GroundMetricLearner).parameters) <= 12
    text = ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
    assert sum(counts.values()) < 283, f"{sum(counts.values())} parameters: {text}"


def test_nothing_is_printed_outside_the_command_line():
    wrong = [
        where(path, node)
        for path in FILES
        if not name_of(path).startswith("cli/")
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert not wrong, wrong


def test_no_global_setting_is_changed():
    forbidden = {"seed", "set_num_threads", "manual_seed", "simplefilter", "filterwarnings", "set_theme", "set_style"}
    wrong = []
    for path in FILES:
        guarded = {
            id(node)
            for block in ast.walk(TREES[path])
            if isinstance(block, ast.With) and "catch_warnings" in ast.unparse(block.items[0].context_expr)
            for node in ast.walk(block)
        }
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and id(node) not in guarded:
                wrong += [f"{where(path, node)} {ast.unparse(node)}"] if node.func.attr in forbidden else []
            if isinstance(node, ast.Attribute) and node.attr in ("rcParams", "environ"):
                wrong.append(f"{where(path, node)} {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)


def test_all_is_sorted_and_holds():
    wrong = []
    for path in FILES:
        for node in TREES[path].body:
            if not isinstance(node, ast.Assign) or getattr(node.targets[0], "id", "") != "__all__":
                continue
            names = ast.literal_eval(node.value)
            dotted = ".".join(["scggml", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
            module = importlib.import_module(dotted)
            # as ruff sorts: constants, classes, the rest
            order = sorted(names, key=lambda n: (0 if n.isupper() else 1 if n[0].isupper() else 2, n))
            missing = [name for name in names if not hasattr(module, name)]
            if names != order or missing:
                wrong.append(f"{name_of(path)}: __all__ should be {order}; missing are {missing}")
    assert not wrong, "\n".join(wrong)


def test_each_function_has_a_file_and_tests_of_its_name():
    wrong = []
    for full, function in FUNCTIONS.items():
        part, name = full.split(".")
        if function.__module__ != f"scggml.{part}._{name}" or function.__name__ != name:
            wrong.append(f"{full} is {function.__module__}.{function.__name__}")
        if name not in [node.name for node in TREES.get(ROOT / part / f"_{name}.py", ast.Module([], [])).body if hasattr(node, "name")]:  # fmt: skip
            wrong.append(f"{part}/_{name}.py does not define {name}")
        if not (TESTS / part / f"test_{name}.py").is_file():
            wrong.append(f"tests/{part}/test_{name}.py is missing")
    assert not wrong, "\n".join(wrong)


def test_every_public_file_is_exported():
    helpers = {"pl": {"_axes", "_colors", "_legends", "_names"}, "datasets": {"_download", "_simulation"}}
    wrong = []
    for part in NAMESPACES:
        files = {path.stem for path in (ROOT / part).glob("_*.py")} - {"__init__"} - helpers.get(part, set())
        exported = {f"_{name}" for name in getattr(sg, part).__all__}
        wrong += [f"{part}: {sorted(files ^ exported)}"] if files != exported else []
    assert not wrong, "\n".join(wrong)


def test_docstrings_have_all_sections():
    wrong = []
    for name, function in FUNCTIONS.items():
        text = inspect.getdoc(function)
        for section in ("Parameters", "Returns", "Raises", "Examples"):
            if text.count(f"\n{section}\n{'-' * len(section)}\n") != 1:
                wrong.append(f"{name} has no section {section}, or several")
        if ">>> " not in text:
            wrong.append(f"{name} has no example")
        if "%(" in text:
            wrong.append(f"{name} has a text that was not filled in: {text[text.index('%(') :][:30]}")
    assert not wrong, "\n".join(wrong)


def test_docstrings_name_all_parameters_in_their_order():
    wrong = []
    for name, function in FUNCTIONS.items():
        documented = inspect.getdoc(function).split("\nParameters\n")[1].split("\nReturns\n")[0]
        heads = [line.split(",") for line in documented.splitlines()[1:] if line and not line.startswith(" ")]
        found = [part.strip() for head in heads for part in head]
        expected = list(inspect.signature(function).parameters)
        if found != expected:
            wrong.append(f"{name} documents {found}, but takes {expected}")
    assert not wrong, "\n".join(wrong)


def test_classes_document_their_parameters():
    wrong = []
    for name, cls in CLASSES.items():
        text = inspect.getdoc(cls)
        wrong += [
            f"{name} does not document {parameter}"
            for parameter in inspect.signature(cls.__init__).parameters
            if parameter != "self" and f"\n{parameter}\n    " not in text
        ]
        if ">>> " not in text:
            wrong.append(f"{name} has no example")
        if hasattr(cls, "fit") and "\nAttributes\n" not in text:
            wrong.append(f"{name} does not document its attributes")
    assert not wrong, "\n".join(wrong)


def test_signatures():
    wrong = []
    for name, function in {**FUNCTIONS, **METHODS}.items():
        signature = inspect.signature(function)
        parameters = [p for p in signature.parameters.values() if p.name != "self"]
        positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        is_dataclass = dataclasses.is_dataclass(CLASSES.get(name.split(".")[0]))
        faults = {
            "no annotation of what it returns": signature.return_annotation is inspect.Signature.empty,
            "parameters without annotation": [p.name for p in parameters if p.annotation is inspect.Parameter.empty],
            "arguments of any name": [p.name for p in parameters if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)],
            "more than three positional parameters": not is_dataclass and len(positional) > 3,
            "positional booleans": [p.name for p in positional if not is_dataclass and isinstance(p.default, bool)],
            "defaults that can be changed": [p.name for p in parameters if isinstance(p.default, list | dict | set)],
        }
        wrong += [f"{name} has {fault}: {found}" for fault, found in faults.items() if found]
    assert not wrong, "\n".join(wrong)


def test_shared_parameters_have_the_same_default_and_annotation():
    uses = {}
    for function, found in FUNCTIONS.items():
        for parameter in inspect.signature(found).parameters.values():
            uses.setdefault(parameter.name, {})[function] = (parameter.default, str(parameter.annotation))
    wrong = []
    for name, by_function in uses.items():
        for function in HOMONYMS.get(name, ()):
            assert function in by_function, f"{function} has no {name} any more"
        variants = VARIANTS.get(name, set())
        assert variants <= set(by_function), f"{variants - set(by_function)} have no {name} any more"
        own = set(by_function) - HOMONYMS.get(name, set())
        for group in (own - variants, variants):
            kinds = {by_function[function] for function in group}
            if len(kinds) > 1:
                wrong.append(f"{name}: { ({function: by_function[function] for function in sorted(group)}) }")
        if variants and {by_function[f] for f in variants} == {by_function[f] for f in own - variants}:
            wrong.append(f"{name} is the same everywhere: take it out of VARIANTS")
    assert not wrong, "\n".join(wrong)


def test_defaults_of_the_learner_are_those_of_the_core():
    """Texts of the learner have become objects: an unknown scale is chosen, a solver is named."""
    learner = {name: p.default for name, p in inspect.signature(sg.GroundMetricLearner).parameters.items()}
    core = {field.name: field.default for field in dataclasses.fields(TrainingOptions)}
    assert set(core) | {"label_kind", "rng", "n_jobs"} == set(learner)
    assert (learner.pop("scale"), core.pop("scale")) == ("auto", "feature")
    assert (learner.pop("solver"), core.pop("solver")) == ("exact", Exact())
    assert {name: learner[name] for name in core} == core
    assert all(type(learner[name]) is type(core[name]) for name in core)


def test_parameters_of_the_learner_that_fit_metric_takes():
    learner = inspect.signature(sg.GroundMetricLearner).parameters
    shared = {name: p for name, p in inspect.signature(sg.tl.fit_metric).parameters.items() if name in learner}
    assert set(shared) == {"label_kind", "n_comps", "rng", "n_jobs"}
    for name, parameter in shared.items():
        assert (parameter.default, parameter.annotation) == (learner[name].default, learner[name].annotation), name


def test_the_citation_has_the_version_of_the_package():
    root = TESTS.parent
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (root / "CITATION.cff").read_text()
