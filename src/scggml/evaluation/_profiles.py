"""One vector per sample: mean features, or proportions of cell types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.preprocessing import StandardScaler

from ._held import Held

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scggml.core.measures._measures import Measures

    from ._samples import Samples
    from ._splits import Split

_RIDGES = np.logspace(-1, 4, 12)


@dataclass(frozen=True, eq=False)
class Profile:
    """One vector per sample, (n_samples, n).

    Vectors are standardised by those of the training samples. They give Euclidean distances and a linear model.
    """

    vectors: NDArray[np.float64]

    def held_out(self, samples: Samples, split: Split, seed: int, n_jobs: int | None) -> Held:
        train, test = self.vectors[split.train], self.vectors[split.test]
        scaler = StandardScaler().fit(train)
        a, b = scaler.transform(test), scaler.transform(train)
        to_train, within = cdist(a, b), cdist(a, a)
        if samples.kind != "class":
            ridge = RidgeCV(_RIDGES).fit(b, samples.known_values[split.train])
            return Held(to_train, within, values=ridge.predict(a))
        regression = LogisticRegression(class_weight="balanced", max_iter=5000).fit(b, samples.codes[split.train])
        scores = regression.decision_function(a)
        return Held(to_train, within, np.stack([-scores, scores], axis=1) / 2 if scores.ndim == 1 else scores)


def sample_means(measures: Measures) -> NDArray[np.float64]:
    parts = (measures[i] for i in range(len(measures)))
    return np.stack([np.asarray(weights @ points) for points, weights in parts])
