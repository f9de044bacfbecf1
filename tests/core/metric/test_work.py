"""The work of the closed form; that of whole fits is compared with what is solved, beside `tl`."""

from __future__ import annotations

import numpy as np

from scggml.core.metric._discriminant import WIDE
from scggml.core.metric._work import moments_work
from scggml.core.transport._work import Extent


def test_wide_points_form_no_matrices():
    """Threads share the work, which grows with stored values, and not with the cube of the features."""
    sizes = np.full(10, 100)
    wide, wider = (moments_work(Extent(sizes, d, 300, True), 1000) for d in (WIDE + 1, 10 * WIDE))
    assert wide == wider
    assert wide.serial_seconds == 0
    assert wide.seconds > 0
    narrow = moments_work(Extent(sizes, WIDE, 300, True), 1000)
    assert narrow.seconds == 0
    assert narrow.serial_seconds > 5 * wide.seconds
    assert moments_work(Extent(2 * sizes, WIDE + 1, 300, True), 2000).seconds == 2 * wide.seconds
