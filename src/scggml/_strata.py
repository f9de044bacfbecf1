"""Strata: samples with different labels are compared within strata only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def strata_of(
    batches: NDArray[Any] | None, donors: NDArray[Any] | None, labels: NDArray[Any]
) -> NDArray[np.int64] | None:
    """Return the stratum of each sample, (n_samples,), or None where all samples may be compared.

    A donor with several labels is a stratum of its own. Donors with one label share a stratum, because their samples
    can only be compared with those of other donors. Where no donor has several labels, donors make no strata. Each
    batch is divided in this way.

    Parameters
    ----------
    batches
        Batch of each sample, (n_samples,); None for one batch.
    donors
        Donor of each sample, (n_samples,); None where each sample has a donor of its own.
    labels
        Label of each sample, (n_samples,).
    """
    parts = [] if batches is None else [np.unique(batches, return_inverse=True)[1]]
    if donors is not None:
        donor, mixed = mixed_donors(donors, labels)
        parts.append(np.where(mixed[donor], donor + 1, 0))
    if not parts:
        return None
    strata = np.unique(np.stack(parts), axis=1, return_inverse=True)[1].ravel().astype(np.int64)
    return strata if strata.any() else None


def mixed_donors(donors: NDArray[Any], labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the donor of each sample as an integer, and whether each donor has several labels.

    Parameters
    ----------
    donors
        Donor of each sample, (n_samples,).
    labels
        Label of each sample, (n_samples,).

    Returns
    -------
    Donors 0..n_donors-1, (n_samples,), and booleans, (n_donors,).
    """
    donor = np.unique(donors, return_inverse=True)[1]
    label = np.unique(labels, return_inverse=True)[1]
    pairs = np.unique(np.stack([donor, label]), axis=1)
    return donor.astype(np.int64), np.bincount(pairs[0]) > 1
