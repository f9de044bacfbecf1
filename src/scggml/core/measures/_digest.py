"""Hashes of points and arrays, by blocks, by which the same input is known again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from ._blocks import row_blocks
from ._measures import as_points

if TYPE_CHECKING:
    from numpy.typing import NDArray


def digest(*parts: Any) -> str:
    """Return one SHA-256 of all parts, 64 hexadecimal digits.

    Memory order, blocks, and whether points are in memory or on disk make no difference. Types of numbers do, and so
    does whether points are sparse.

    Parameters
    ----------
    parts
        Text, arrays, CSR arrays or stored points; what has two dimensions is hashed as points.
    """
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            own = b"text" + part.encode()
        elif len(part.shape) == 2:
            own = _of_points(part)
        else:
            own = f"{part.dtype.str}{part.shape}".encode() + hashlib.sha256(_bytes(part)).digest()
        found.update(hashlib.sha256(own).digest())
    return found.hexdigest()


def _of_points(points: Any) -> bytes:
    """Hash points by blocks of rows; what is hashed apart does not depend on where the blocks end."""
    values, columns, lengths = (hashlib.sha256() for _ in range(3))
    kind = ""
    for rows in row_blocks(points):
        block = as_points(points[rows])
        kind = f"{type(block).__name__}{block.dtype.str}"
        if sp.issparse(block):
            columns.update(_bytes(block.indices.astype("<i8")))
            lengths.update(_bytes(np.diff(block.indptr).astype("<i8")))
            block = block.data
        values.update(_bytes(block))
        del block  # before the next
    return f"{kind}{points.shape}".encode() + values.digest() + columns.digest() + lengths.digest()


def _bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
