"""A cohort with everything that a report shows, and what a page says."""

from __future__ import annotations

import json
import re
import warnings
from html.parser import HTMLParser

import pytest

import scggml as sg

VOID = {"meta", "br", "line", "path", "img", "link"}


class Page(HTMLParser):
    """Text, sections, scripts and attributes of a page; an element that is not closed is an error."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.open, self.texts, self.sections, self.scripts, self.data, self.attributes = [], [], [], [], [], []
        self.feed(source)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag == "section":
            self.sections.append(dict(attrs)["id"])
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tag, attrs = self.open[-1] if self.open else ("", {})
        if tag == "script":
            (self.data if attrs.get("type") == "application/json" else self.scripts).append(data)
        elif tag != "style":
            self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))

    @property
    def figures(self):
        return [json.loads(text) for text in self.data]


@pytest.fixture(scope="session")
def read_page():
    def read(path):
        return Page(path.read_text(encoding="utf-8"))

    return read


@pytest.fixture(scope="session")
def everything(_cohort):
    """Cells, samples with distances of both kinds, and new samples with predictions; one is an outlier."""
    cells = _cohort.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sg.tl.fit_metric(cells, "sample", "label", rng=0)
        sg.tl.rank_genes(cells, n_boot=20, rng=0)
        sg.tl.cross_validate(cells, "sample", "label", rng=0)
        sg.tl.separation_test(cells, "sample", "label", n_permutations=39, rng=0)
        pdata = sg.tl.sample_distances(cells)
        sg.tl.embed_samples(pdata)
        reference = sg.tl.make_reference(cells, pdata, rng=0)
        sg.tl.explain_distances(cells, pdata, cell_type_key="cell_type")
        held_out = sg.tl.sample_distances(cells, cv="auto", rng=0, key_added="held_out")
        pdata.obsp["held_out_distances"] = held_out.obsp["held_out_distances"]
        pdata.uns["held_out"] = held_out.uns["held_out"]
        new = _cohort[_cohort.obs["sample"].isin(["p1", "p2"])].copy()
        new.obs["sample"] = "new " + new.obs["sample"].astype(str)
        del new.obsm["X_pca"]
        new.X = new.X.toarray()
        new.X[new.obs["sample"] == "new p2", 5] += 30
        mapped = sg.tl.map_samples(new, reference)
        sg.tl.predict_samples(mapped)
    return cells, pdata, mapped


@pytest.fixture
def everything_copied(everything):
    return [data.copy() for data in everything]
