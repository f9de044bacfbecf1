from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from scggml.core.measures._blocks import column_blocks, row_blocks


def test_column_blocks_cover_every_column_once():
    blocks = column_blocks(100, 23, budget=700)
    np.testing.assert_array_equal(np.concatenate([np.arange(23)[b] for b in blocks]), np.arange(23))
    assert max(b.stop - b.start for b in blocks) == 7
    assert len(column_blocks(10, 2, budget=1)) == 2
    assert column_blocks(0, 3, budget=1) == [slice(0, 1), slice(1, 2), slice(2, 3)]


def test_row_blocks_cover_every_row_once():
    x = np.ones((23, 10))
    x[:, :5] = 0
    for points, n_rows in ((x, 7), (sp.csr_array(x), 14)):
        blocks = row_blocks(points, budget=70)  # of stored numbers
        np.testing.assert_array_equal(np.concatenate([np.arange(23)[b] for b in blocks]), np.arange(23))
        assert max(b.stop - b.start for b in blocks) == n_rows
    assert len(row_blocks(x, budget=1)) == 23


def test_blocks_hold_as_much_as_the_budget_allows():
    assert column_blocks(1, 4, budget=2) == [slice(0, 2), slice(2, 4)]
    one_value = sp.csr_array(([1.0], ([2], [0])), shape=(4, 3))
    assert row_blocks(one_value, budget=1) == [slice(0, 4)]
