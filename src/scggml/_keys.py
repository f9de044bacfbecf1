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
        """`.obsm` of cells: their coordinates in the learned space."""
        return f"X_{self.key}"

    @property
    def gene_ranking(self) -> str:
        """`.uns` of cells: the table of ranked genes."""
        return f"{self.key}_rank_genes"

    @property
    def gene_ranking_by_class(self) -> str:
        """`.uns` of cells: genes of each class in the shape of scanpy's `rank_genes_groups`."""
        return f"{self.key}_rank_genes_groups"

    @property
    def stability(self) -> str:
        """`.uns` of cells: how stable the metric is over bootstraps."""
        return f"{self.key}_stability"

    @property
    def cross_validation(self) -> str:
        """`.uns` of cells: predictions and scores of held-out samples."""
        return f"{self.key}_cross_validation"

    @property
    def tuning(self) -> str:
        """`.uns` of cells: outer scores and chosen settings of a nested search."""
        return f"{self.key}_tuning"

    @property
    def separation(self) -> str:
        """`.uns` of cells: a permutation test of the classes."""
        return f"{self.key}_separation"

    @property
    def power(self) -> str:
        """`.uns` of cells: held-out accuracy and power in smaller cohorts."""
        return f"{self.key}_power"

    @property
    def barycenters(self) -> str:
        """`.uns` of barycenter points: how they were computed."""
        return f"{self.key}_barycenters"

    @property
    def enrichment(self) -> str:
        """`.uns` of cells: the table of gene sets."""
        return f"{self.key}_enrichment"

    @property
    def clusters(self) -> str:
        """`.obs` and `.uns` of samples: their clusters, and how these were found."""
        return f"{self.key}_cluster"

    @property
    def pseudotime(self) -> str:
        """`.obs` of samples: the position of each sample along a trajectory."""
        return f"{self.key}_pseudotime"

    @property
    def trajectory(self) -> str:
        """`.uns` of samples: how the trajectory was computed."""
        return f"{self.key}_trajectory"

    @property
    def distance_scores(self) -> str:
        """`.uns` of samples: scores of their distances."""
        return f"{self.key}_distance_scores"

    @property
    def explanation(self) -> str:
        """`.uns` of samples: the decomposition of their distances."""
        return f"{self.key}_explanation"

    @property
    def reference(self) -> str:
        """`.uns` of samples: what new samples are compared with; `.uns` of mapped samples: its calibration."""
        return f"{self.key}_reference"

    @property
    def novelty(self) -> str:
        """`.obsm` of mapped samples: how each differs from the others of the reference."""
        return f"{self.key}_novelty"

    @property
    def prediction(self) -> str:
        """`.uns` of mapped samples: how predictions were made."""
        return f"{self.key}_prediction"

    @property
    def probabilities(self) -> str:
        """`.obsm` of mapped samples: the probability of each class."""
        return f"{self.key}_probabilities"

    @property
    def distances(self) -> str:
        """`.obsp` of samples: the distance matrix."""
        return f"{self.key}_distances"


@dataclass(frozen=True)
class SketchKeys:
    """The keys that belong to one sketch."""

    key: str = "sketch"

    @property
    def entry(self) -> str:
        """`.uns` of cells: how the sketch was made, and its errors."""
        return self.key

    @property
    def groups(self) -> str:
        """`.obs` of cells: the group of each cell within its sample."""
        return self.key

    @property
    def support(self) -> str:
        """`.obs` of cells: which cells stand for their groups."""
        return f"{self.key}_support"


TRAINING, HELD_OUT, NEW = STATUSES = ("training", "held_out", "new")  # of distances under a learned metric
IS_REFERENCE = "is_reference"  # .obs of mapped samples: whether they are those of the reference
N_CELLS = "n_cells"  # .obs of samples
N_POINTS = "n_points"  # .obs of samples: points of the sketch
SKETCH_ERROR = "sketch_error"  # .obs of samples
PREDICTED = "predicted"  # .obs of mapped samples: the class
OUTLIER_P, OUTLIER = "outlier_p", "outlier"  # .obs of mapped samples: the p-value, and whether it is small
POINT_WEIGHT = "weight"  # .obs of barycenter points
CELL_TYPES = "cell_types"  # .obsm of barycenter points: shares of the cell types
PCA = "X_pca"  # .obsm of cells, written by scanpy
PCA_LOADINGS = "PCs"  # .varm of cells, written by scanpy
JOINT = "X_joint"  # .obsm of cells: the joint space of pp.join_modalities; .uns: what it consists of
JOINT_LOADINGS = "joint_loadings"  # .varm of cells: from the values of the features to the joint space
MODALITY = "modality"  # .var of cells: the modality of each feature
LOADINGS = {PCA: PCA_LOADINGS, JOINT: JOINT_LOADINGS}  # .varm of cells, for the representation in .obsm


def embedding(method: str) -> str:
    """`.obsm` of samples: a map of the samples."""
    return f"X_{method}"


def colors(column: str) -> str:
    """`.uns`: the colours of a categorical column, as scanpy keeps them."""
    return f"{column}_colors"
