"""The text of errors where transport does not fit into memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray


@contextmanager
def sizes_in_memory_errors(sizes: NDArray[np.integer]) -> Iterator[None]:
    """Name the largest of the pairs that are solved, (n_pairs, 2) numbers of points, and the remedies."""
    try:
        yield
    except MemoryError as error:
        n, m = sizes[sizes.prod(axis=1).argmax()].tolist()
        msg = (
            f"optimal transport between samples of {n:,} and {m:,} cells does not fit into memory: their costs alone "
            f"take {8 * n * m / 1e9:.2g} GB in each thread. Compare fewer cells of each sample, with sg.pp.sketch or a "
            "random subset, or pass n_jobs=1."
        )
        raise MemoryError(msg) from error
