"""Distances between samples as they are stored in a sample-level AnnData, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from scggml import _check as check
from scggml import _data as data
from scggml._keys import HELD_OUT, NEW, STATUSES, Keys
from scggml.evaluation._frames import check_distances

from ._entries import DISTANCES
from ._features import with_mask
from ._schema import Entry, Text, read_entry
from ._writing import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

_WITH_STATUS = Entry({"status": Text(STATUSES)})


def read_distances(pdata: AnnData, key: str) -> pd.DataFrame:
    """Return the distances, (n_samples, n_samples), by sample name, checked.

    `attrs["metric"]` is the name of their metric, and `attrs["status"]` says which labels a learned one has seen.
    """
    name = Keys(key).distances
    if name not in pdata.obsp:
        msg = (
            f"obsp[{name!r}] does not exist. Found: {check.listed(pdata.obsp.keys(), limit=20)}. "
            f"Pass the sample-level AnnData that sg.tl.sample_distances(..., key_added={key!r}) returns."
        )
        raise KeyError(msg)
    text = f"obsp[{name!r}]"
    with _naming_the_remedy():
        stored = data.as_plain(text, with_mask(pdata, pdata.obsp[name], "obsp", name))
        matrix = check_distances(text, stored, pdata.n_obs)
    table = pd.DataFrame(matrix, index=pdata.obs_names.copy(), columns=pdata.obs_names.copy())
    entry = pdata.uns.get(Keys(key).metric)
    if isinstance(entry, Mapping) and "metric" in entry:
        table.attrs["metric"] = str(plain(entry)["metric"])
        status = status_of_distances(pdata, key)
        if status is not None and table.attrs["metric"] == "learned":
            table.attrs["status"] = status
    return table


def status_of_distances(pdata: AnnData, key: str) -> str | None:
    """Return which labels the metric of the distances has seen, one of `STATUSES`, or None if that is not known."""
    return _status(pdata, Keys(key).metric, "Compute distances again with sg.tl.sample_distances.")


def status_of_map(pdata: AnnData, name: str) -> str | None:
    """Return the status of the distances that a map in `.obsm` shows, or None if that is not known."""
    return _status(pdata, name, "Compute the map again with sg.tl.embed_samples.")


def _status(pdata: AnnData, name: str, remedy: str) -> str | None:
    entry = pdata.uns.get(name)
    if not isinstance(entry, Mapping) or "status" not in entry:
        return None
    status: str = read_entry(entry, _WITH_STATUS, f"uns[{name!r}]", remedy)["status"]
    return status


def refuse_held_out(entry: Mapping[str, Any], key: str, what: str) -> None:
    """Refuse distances that belong to many metrics where one is needed."""
    if entry.get("status") == HELD_OUT:
        msg = (
            f"the distances of key={key!r} are held-out: each pair of samples has a metric of its own. {what} needs "
            "distances under one metric: compute them with sg.tl.sample_distances, without cv."
        )
        raise ValueError(msg)


@contextmanager
def _naming_the_remedy() -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        msg = f"{str(error).removesuffix('.')}. Compute the distances with sg.tl.sample_distances."
        raise type(error)(msg) from error


def checked_distances(pdata: AnnData, key: str, *, minimum: int, what: str) -> NDArray[np.float64]:
    """Return the distances, (n_samples, n_samples), checked; `what` needs at least `minimum` samples."""
    matrix = read_distances(pdata, key).to_numpy()
    if len(matrix) < minimum:
        msg = f"{what} needs at least {minimum} samples, pdata has {len(matrix)}"
        raise ValueError(msg)
    if len(matrix) > 1 and not matrix.any():
        msg = f"all distances of key={key!r} are zero: samples do not differ."
        raise ValueError(msg)
    return matrix


def distances_entry(pdata: AnnData, key: str) -> dict[str, Any]:
    """Return what `.uns` says of where the distances of a key come from."""
    read_distances(pdata, key)
    entry = pdata.uns.get(Keys(key).metric)
    if not isinstance(entry, Mapping) or not {"metric", "params", "solver"} <= set(entry):
        msg = (
            f"pdata.uns[{key!r}], which says where the distances of key={key!r} come from, is missing. "
            "Compute distances with sg.tl.sample_distances."
        )
        raise KeyError(msg)
    return read_entry(entry, DISTANCES, f"uns[{key!r}]", "Compute distances again with sg.tl.sample_distances.")


def check_not_training(pdata: AnnData, key: str) -> None:
    """Refuse distances under a metric that has seen the labels of these very samples."""
    entry = pdata.uns.get(Keys(key).metric)
    is_learned = isinstance(entry, Mapping) and str(plain(entry.get("metric"))) == "learned"
    if not is_learned or status_of_distances(pdata, key) in (HELD_OUT, NEW):
        return
    msg = (
        f"key={key!r} holds distances under a metric that was learned with the labels of these samples, which show "
        "whatever is associated with the labels too well. Compute held-out distances: pdata = "
        "sg.tl.sample_distances(adata, cv='auto')."
    )
    raise ValueError(msg)
