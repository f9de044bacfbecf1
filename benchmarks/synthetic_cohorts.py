"""The paper's synthetic cohorts: learn on one draw, test on a second draw of the same cohort, all with defaults."""

from __future__ import annotations

import argparse
import time

import numpy as np
from _machine import machine
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

import scggml as sg


def knn_accuracy(distances, train_labels, test_labels, *, k=5, leave_out_self=False):
    """5-NN by brute force, independent of scggml's classifier."""
    distances = distances.copy()
    if leave_out_self:
        np.fill_diagonal(distances, np.inf)
    nearest = train_labels[np.argsort(distances, axis=1)[:, :k]]
    predicted = [max(sorted(set(row)), key=list(row).count) for row in nearest]
    return float(np.mean(predicted == test_labels))


def clustering_ari(distances, labels):
    """Adjusted Rand index of complete-linkage clusters against the classes."""
    model = AgglomerativeClustering(len(set(labels)), metric="precomputed", linkage="complete")
    return adjusted_rand_score(labels, model.fit_predict(distances))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    print(machine())
    print(f"{'preset':<11} seed  5-NN train  5-NN test  ARI train  ARI test   fit s  matrix s")
    for preset in ("synth_2d", "synth_200d"):
        for seed in range(args.seeds):
            train = sg.datasets.synthetic_cohort(preset, rng=seed)
            test = sg.datasets.synthetic_cohort(preset, rng=1000 + seed)
            start = time.perf_counter()
            sg.tl.fit_metric(train, "sample", "label", use_rep="X", rng=0)
            fitted = time.perf_counter()
            on_train = sg.tl.sample_distances(train)
            measured = time.perf_counter()
            test.uns["ggml"] = train.uns["ggml"]
            on_test = sg.tl.sample_distances(test)
            labels, test_labels = (s.obs["label"].astype(str).to_numpy() for s in (on_train, on_test))
            learner = sg.GroundMetricLearner(rng=0).fit(*as_arrays(train))
            across = learner.pairwise_distances(as_arrays(test)[0], as_arrays(train)[0])
            train_matrix, test_matrix = on_train.obsp["ggml_distances"], on_test.obsp["ggml_distances"]
            print(
                f"{preset:<11} {seed:4d}"
                f"  {knn_accuracy(train_matrix, labels, labels, leave_out_self=True):10.2f}"
                f"  {knn_accuracy(across, labels, test_labels):9.2f}"
                f"  {clustering_ari(train_matrix, labels):9.2f}  {clustering_ari(test_matrix, test_labels):8.2f}"
                f"  {fitted - start:6.1f}  {measured - fitted:8.1f}",
                flush=True,
            )


def as_arrays(adata):
    """Return one array per sample, ordered by name, and the labels."""
    groups = adata.obs.groupby("sample", observed=True).indices
    names = sorted(groups)
    return [adata.X[groups[n]] for n in names], adata.obs["label"].astype(str).to_numpy()[[groups[n][0] for n in names]]


if __name__ == "__main__":
    main()
