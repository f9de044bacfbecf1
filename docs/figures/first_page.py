"""Draw docs/_static/first_page.png: 40 simulated patients under the Euclidean and under the learned metric, held out."""

import warnings
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import scanpy as sc

import scggml as sg

FILE = Path(__file__).parents[1] / "_static" / "first_page.png"
METHODS = {"euclidean": "Euclidean transport", "ggml": "learned metric"}


def main():
    # the lines of the first page
    adata = sg.datasets.simulated_cohort(40, rng=0)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=50)
    sg.tl.fit_metric(adata, "sample", "label", rng=0)
    sg.tl.cross_validate(adata, "sample", "label", methods=list(METHODS), cv="leave_one_out", rng=0)
    samples = {
        "euclidean": sg.tl.sample_distances(adata, "sample", metric="euclidean", use_rep="X_pca"),
        "ggml": sg.tl.sample_distances(adata, cv="auto"),
    }
    scores = sg.get.scores(adata).query("classifier == 'class_mean' and score == 'accuracy'").set_index("method")
    mpl.rcParams.update({"font.size": 11, "savefig.dpi": 100})
    fig, axes = plt.subplots(1, 2, figsize=(8.6, 3.9), layout="constrained")
    for ax, (method, name) in zip(axes, METHODS.items(), strict=True):
        sg.tl.embed_samples(samples[method], "mds")
        sg.pl.sample_map(samples[method], color="label", ax=ax)
        right = round(scores.loc[method, "value"] * samples[method].n_obs)
        ax.set_title(f"{name}\n{right} of {samples[method].n_obs} held-out patients right")
        if method == "euclidean":
            ax.get_legend().remove()
    fig.savefig(FILE)
    plt.close(fig)


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
