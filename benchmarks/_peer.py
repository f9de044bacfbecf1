"""The environment of the peer, ggml-ot from PyPI, which needs an older anndata than the tests of scggml."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

VERSION = "0.9.94"
CACHE = Path.home() / ".cache" / "scggml-benchmarks"
# PyTorch first: from PyPI alone pip would take whatever build is newest
_INSTALLS = (("torch==2.13.0",), (f"ggml-ot=={VERSION}",))
_VERSIONS = (
    "import platform; from importlib.metadata import version as v; "
    "print('Python', platform.python_version() + ',', "
    "', '.join(f'{n} {v(n)}' for n in ('ggml-ot', 'pot', 'numpy', 'torch', 'anndata')))"
)


def peer_python(folder=None):
    """Return the Python of the peer's environment, which is made on the first call."""
    folder = Path(folder) if folder else CACHE / f"ggml-ot-{VERSION}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if python.exists() and f"ggml-ot {VERSION}" in _run(python, "-c", _VERSIONS, check=False):
        return python
    print(f"installing ggml-ot {VERSION} into {folder} (once)", flush=True)
    venv.create(folder, with_pip=True)
    for packages in _INSTALLS:
        _run(python, "-m", "pip", "install", "--quiet", *packages)
    return python


def peer_versions(python):
    """Describe the environment in one line."""
    return _run(python, "-c", _VERSIONS).strip()


def _run(*command, check=True):
    process = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if check and process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{process.stderr[-4000:]}")
    return process.stdout
