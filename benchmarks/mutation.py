"""Mutation testing of `core`: small changes of a module, one at a time, each of which its own tests should notice.

A mutant turns an operator, a number, a truth value, a condition or a returned value into another. A child process runs
the tests of the module on it until the first failure. Printed: which mutants survived, and the share that was killed.
Numba compiles nothing of the module under test but the network simplex, which is compiled anew for each mutant.
Linux and macOS only, for `fork`. `metric/_options` and `metric/_work` are left out: defaults, and seconds that
`estimates.py` compares with a clock.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import importlib.machinery
import importlib.util
import os
import random
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ROOT / "src" / "scggml" / "core"
MODULES = [
    "_diffusion", "_neighbors", "_probabilities",
    "measures/_blocks", "measures/_measures", "measures/_moments", "measures/_sparse",
    "metric/_bootstrap", "metric/_discriminant", "metric/_label_signal", "metric/_objective",
    "metric/_out_of_fold", "metric/_pair_moments", "metric/_refinement", "metric/_targets", "metric/_training",
    "metric/_triplets", "metric/_wide",
    "transport/_barycenters", "transport/_checkpoint", "transport/_costs", "transport/_distances",
    "transport/_entropic", "transport/_exact", "transport/_memory_limits", "transport/_network_simplex",
    "transport/_plans", "transport/_simplex", "transport/_sinkhorn", "transport/_sketch", "transport/_solvers",
    "transport/_work",
]  # fmt: skip
_TESTS = {  # named otherwise than the module
    "transport/_network_simplex": ("core/transport/test_simplex",),
    "transport/_sinkhorn": ("core/transport/test_entropic",),
}
_COMPILED = "scggml.core.transport._network_simplex"  # too slow without numba
_BINARY = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_NAMES = {"min": "max", "minimum": "maximum", "any": "all", "argmin": "argmax"}
_NAMES |= {new: old for old, new in _NAMES.items()}
_LARGEST_FACTOR = 4  # of the time of the tests without a change, after which a mutant counts as killed


def changes(node):
    """What can be changed at a node, as (words, function that changes a copy of it)."""

    def setting(name, value):
        return lambda other: setattr(other, name, value)

    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _BINARY:
        new = _BINARY[type(node.op)]
        yield f"{type(node.op).__name__} -> {new.__name__}", setting("op", new())
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARE:
        new = _COMPARE[type(node.ops[0])]
        yield f"{type(node.ops[0]).__name__} -> {new.__name__}", setting("ops", [new(), *node.ops[1:]])
    elif isinstance(node, ast.BoolOp):
        new = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"{type(node.op).__name__} -> {new.__name__}", setting("op", new())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        new = not node.value if isinstance(node.value, bool) else node.value + 1
        yield f"{node.value} -> {new}", setting("value", new)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):  # "not x" becomes "not not x"
        yield "without not", setting("operand", ast.UnaryOp(ast.Not(), node.operand))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert):
        yield f"without {type(node.op).__name__}", setting("op", ast.UAdd())
    elif isinstance(node, ast.Attribute) and node.attr in _NAMES:
        yield f"{node.attr} -> {_NAMES[node.attr]}", setting("attr", _NAMES[node.attr])
    elif isinstance(node, ast.Name) and node.id in _NAMES:
        yield f"{node.id} -> {_NAMES[node.id]}", setting("id", _NAMES[node.id])
    elif isinstance(node, ast.Return) and node.value is not None:
        yield "return None", setting("value", ast.Constant(None))
    elif isinstance(node, ast.If | ast.IfExp):
        yield "condition turned round", setting("test", ast.UnaryOp(ast.Not(), node.test))


def code_of(tree):
    """All nodes but decorators, annotations and imports for types, in order."""
    for name, value in ast.iter_fields(tree):
        if name in ("decorator_list", "annotation", "returns"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST):
                continue
            types_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            alias = isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias"
            if not types_only and not alias:
                yield node
                yield from code_of(node)


def mutants(source):
    """Every mutant of a source text, as (line, words, changed tree)."""
    tree = ast.parse(source)
    for at, node in enumerate(code_of(tree)):
        for words, change in changes(node):
            other = copy.deepcopy(tree)
            place = list(code_of(other))[at]
            change(place)
            yield node.lineno, words, ast.fix_missing_locations(other)


def in_child(name, path, tree, tests, limit):
    """Run tests where the module is this tree (None for unchanged); return how pytest ended, or "timeout"."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)  # with the processes that tests start
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        os._exit(run(name, path, tree, tests))
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def run(name, path, tree, tests):
    import numba
    import pytest

    from scggml.core.measures import _compiled

    class Loader(importlib.machinery.SourceFileLoader):
        def get_code(self, fullname):
            return super().get_code(fullname) if tree is None else compile(tree, str(path), "exec")

        def exec_module(self, module):
            cached = _compiled.njit
            numba.config.DISABLE_JIT = name != _COMPILED
            _compiled.njit = lambda **options: cached(**options | {"cache": False})
            super().exec_module(module)
            numba.config.DISABLE_JIT, _compiled.njit = False, cached

    class Finder:
        @staticmethod
        def find_spec(fullname, path_=None, target=None):
            if fullname == name:
                return importlib.util.spec_from_file_location(name, path, loader=Loader(name, str(path)))
            return None

    sys.meta_path.insert(0, Finder)
    options = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "--rootdir", str(ROOT)]
    return int(pytest.main([*options, *map(str, tests)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=MODULES, help="such as metric/_targets")
    parser.add_argument("--n", type=int, default=30, help="mutants of a module, drawn at random; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.chdir(ROOT)
    os.environ.setdefault("MPLBACKEND", "Agg")
    for package in ("anndata", "hypothesis", "numba", "ot", "pytest", "sklearn.model_selection", "joblib"):
        importlib.import_module(package)  # once, in this process: children begin with them
    gc.freeze()  # children have nothing of it to look through
    table, start = [], time.monotonic()
    for module in args.modules:
        path = CORE / f"{module}.py"
        name = "scggml.core." + module.replace("/", ".")
        files = _TESTS.get(module, (f"core/{Path(module).parent}/test{Path(module).name}",))
        tests = [ROOT / "tests" / f"{file}.py" for file in files]
        source = path.read_text()
        before = time.monotonic()
        if in_child(name, path, None, tests, 600) != 0:
            raise SystemExit(f"{module}: its tests fail without a change")
        limit = max(20.0, _LARGEST_FACTOR * (time.monotonic() - before))
        found = list(mutants(source))
        chosen = found if not args.n else random.Random(args.seed).sample(found, min(args.n, len(found)))
        survivors = []
        for line, words, tree in sorted(chosen, key=lambda mutant: mutant[0]):
            if in_child(name, path, tree, tests, limit) == 0:
                survivors.append(line)
                print(f"{module}.py:{line}: {words}: {source.splitlines()[line - 1].strip()}", flush=True)
        killed = len(chosen) - len(survivors)
        table.append((module, killed, len(chosen), len(found)))
        print(f"== {module}: {killed} of {len(chosen)} killed (of {len(found)} mutants), "
              f"{time.monotonic() - start:.0f} s", flush=True)  # fmt: skip
    killed, total = sum(row[1] for row in table), sum(row[2] for row in table)
    print(f"all: {killed} of {total} killed ({killed / total:.1%})")


if __name__ == "__main__":
    main()
