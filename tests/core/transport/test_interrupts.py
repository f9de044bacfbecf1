from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scggml.core.transport._interrupts import interruptible


@pytest.fixture
def stop():
    return np.zeros(1, dtype=bool)


def test_results_come_back_on_any_thread(stop):
    assert interruptible(divmod, 7, 2, stop=stop) == (3, 1)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(interruptible, divmod, 7, 2, stop=stop).result() == (3, 1)
    assert not stop[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_errors_pass_and_stop_what_still_runs(stop, error):
    def failing():
        raise error

    with pytest.raises(error):
        interruptible(failing, stop=stop)
    assert stop[0]
