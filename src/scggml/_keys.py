"""Every key that scggml writes into an AnnData."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    """The keys that belong to one `key_added`."""

    key: str = "ggml"

    @property
    def metric(self) -> str:
        """`.uns` of cells: the learned metric; `.uns` of samples: where the distances come from."""
        return self.key

    @property
    def gene_weights(self) -> str:
        """`.varm` of cells: gene weights."""
        return self.key

    @property
    def cells(self) -> str:
        """`.obsm` of cells: their places in the learned space."""
        return f"X_{self.key}"

    @property
    def gene_ranking(self) -> str:
        """`.uns` of cells: the table of ranked genes."""
        return f"{self.key}_rank_genes"

    @property
    def distances(self) -> str:
        """`.obsp` of samples: the distance matrix."""
        return f"{self.key}_distances"


N_CELLS = "n_cells"  # .obs of samples
PCA = "X_pca"  # .obsm of cells, written by scanpy
PCA_LOADINGS = "PCs"  # .varm of cells, written by scanpy


def embedding(method: str) -> str:
    """`.obsm` of samples: a map of the samples."""
    return f"X_{method}"


def colors(column: str) -> str:
    """`.uns`: the colours of a categorical column, as scanpy keeps them."""
    return f"{column}_colors"
