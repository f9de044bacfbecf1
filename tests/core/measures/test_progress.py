from __future__ import annotations

import pytest

from scggml.core.measures import _progress as module
from scggml.core.measures._progress import progress_bar


@pytest.fixture
def drawn(monkeypatch):
    """Texts of the bars that are drawn."""
    found = []

    class Bar:
        def __init__(self, *, desc, disable, **options):
            if not disable:
                found.append(desc)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(module, "tqdm", Bar)
    return found


def test_bars_inside_of_a_bar_are_not_drawn(drawn):
    with progress_bar(2, "outer", "fit"), progress_bar(3, "inner", "pair"), progress_bar(3, "innermost", "pair"):
        pass
    with progress_bar(2, "next", "fit"):
        pass
    assert drawn == ["outer", "next"]


def test_what_has_no_bar_hides_none(drawn):
    with progress_bar(2, None, "fit"), progress_bar(3, "inner", "pair"):
        pass
    assert drawn == ["inner"]


def test_after_an_error_bars_are_drawn_again(drawn):
    with pytest.raises(KeyError), progress_bar(2, "outer", "fit"):
        raise KeyError
    with progress_bar(3, "next", "pair"):
        pass
    assert drawn == ["outer", "next"]
