"""The limit of BLAS holds in whichever thread asks for it, and ends with the last that leaves."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from scggml.core.measures._threads import single_threaded_blas

BLAS = ThreadpoolController().select(user_api="blas")


def numbers():
    return {library["num_threads"] for library in BLAS.info()}


@pytest.fixture(autouse=True)
def two_threads():
    with threadpool_limits(2, user_api="blas"):
        if sys.platform != "linux" and numbers() != {2}:
            pytest.skip("this BLAS has no threads that can be set")
        assert numbers() == {2}
        yield


def inside():
    with single_threaded_blas:
        return numbers()


def test_in_any_thread():
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            assert pool.submit(inside).result() == {1}
            assert inside() == {1}
            assert numbers() == {2}


@pytest.mark.parametrize("main_enters_first", [True, False])
def test_until_the_last_leaves(main_enters_first):
    entered, leave = threading.Event(), threading.Event()

    def stay():
        with single_threaded_blas:
            entered.set()
            assert leave.wait(60)
            return numbers()

    with ThreadPoolExecutor(1) as pool:
        if main_enters_first:
            with single_threaded_blas:
                other = pool.submit(stay)
                assert entered.wait(60)
        else:
            other = pool.submit(stay)
            assert entered.wait(60)
            assert inside() == {1}
        assert numbers() == {1}
        leave.set()
        assert other.result() == {1}
    assert numbers() == {2}
