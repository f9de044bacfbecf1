"""Linear maps learned on single cells by metric-learn, which needs an older scikit-learn in a separate environment.

`metric_learn_python` makes that environment, and `learn_map` is called from outside. Run as a script, this file is the
job inside the environment, which has no scggml. Settings are those of the paper's script, otherwise the defaults of
metric-learn.
"""

from __future__ import annotations

import sys
import tempfile
import venv
from pathlib import Path

import numpy as np
from _jobs import main, run_job, write_samples
from _peer import CACHE, _run

VERSION = "0.7.0"
LEARNERS = ("LMNN", "LFDA", "NCA", "ITML")
_PACKAGES = (f"metric-learn=={VERSION}", "scikit-learn>=1.5,<1.6")
_VERSIONS = (
    "import platform; from importlib.metadata import version as v; "
    "print('Python', platform.python_version() + ',', "
    "', '.join(f'{n} {v(n)}' for n in ('metric-learn', 'scikit-learn', 'numpy', 'scipy')))"
)


def metric_learn_python(folder=None):
    """Return the Python of metric-learn's environment, which is made on the first call."""
    folder = Path(folder) if folder else CACHE / f"metric-learn-{VERSION}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if python.exists() and f"metric-learn {VERSION}" in _run(python, "-c", _VERSIONS, check=False):
        return python
    print(f"installing metric-learn {VERSION} into {folder} (once)", file=sys.stderr, flush=True)
    venv.create(folder, with_pip=True)
    _run(python, "-m", "pip", "install", "--quiet", *_PACKAGES)
    return python


def metric_learn_versions(python):
    """Describe the environment in one line."""
    return _run(python, "-c", _VERSIONS).strip()


def learn_map(python, learner, arrays, labels, *, max_points, seed, timeout, max_iter=None):
    """Return the linear map (k, d) that a learner finds, or None, and the status."""
    settings = {"max_points": max_points, "seed": seed, "max_iter": max_iter}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "train.npz"
        write_samples(data, arrays, labels)
        numbers, found = run_job(python, "_metric_learn.py", learner, data, timeout=timeout, **settings)
    return found.get("linear_map"), numbers["status"]


def _job(learner):
    def job(arrays, labels, *, max_points, seed, max_iter):
        points, classes = _subset(arrays, labels, max_points, seed)
        components = _estimator(learner, classes, seed, max_iter).fit(points, classes).components_
        if not np.isfinite(components).all():
            return {"status": "components are not finite"}, {}
        return {}, {"linear_map": np.real(components)}

    return job


def _estimator(learner, classes, seed, max_iter):
    from metric_learn import LFDA, LMNN, NCA, ITML_Supervised

    options = {"random_state": seed, **({} if max_iter is None else {"max_iter": max_iter})}
    if learner == "LMNN":
        n_neighbors = min(30, np.unique(classes, return_counts=True)[1].min() - 1)
        return LMNN(n_neighbors=n_neighbors, learn_rate=1e-6, **{"max_iter": 100, **options})
    if learner == "LFDA":
        return LFDA(k=3)
    return (NCA if learner == "NCA" else ITML_Supervised)(**options)


def _subset(arrays, labels, max_points, seed):
    """At most `max_points` points, stratified by class, each with the class of its sample as an integer."""
    from sklearn.model_selection import train_test_split

    points = np.concatenate(arrays).astype(np.float64)
    classes = np.repeat(np.unique(labels, return_inverse=True)[1], [len(x) for x in arrays])
    if len(points) <= max_points:
        return points, classes
    return train_test_split(points, classes, train_size=max_points, stratify=classes, random_state=seed)[::2]


if __name__ == "__main__":
    main({learner: _job(learner) for learner in LEARNERS})
