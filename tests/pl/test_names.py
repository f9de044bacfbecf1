from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from scggml.pl._names import write_names


def written(points, names):
    figure = Figure(figsize=(5, 4))
    ax = figure.subplots()
    ax.scatter(*points.T)
    write_names(ax, points, names)
    figure.draw_without_rendering()
    return ax


def boxes(ax):
    found = [text.get_window_extent() for text in ax.texts]
    return np.array([[box.x0, box.y0, box.x1, box.y1] for box in found])


def overlap(boxes):
    sides = np.minimum(boxes[:, None, 2:], boxes[:, 2:]) - np.maximum(boxes[:, None, :2], boxes[:, :2])
    return np.triu(np.maximum(sides, 0).prod(axis=2), k=1).sum()


def test_names_belong_to_their_points():
    points = np.random.default_rng(0).normal(size=(12, 2))
    ax = written(points, [f"s{i}" for i in range(12)])
    assert {text.get_text(): tuple(text.xy) for text in ax.texts} == {
        f"s{i}": tuple(point) for i, point in enumerate(points)
    }


@pytest.mark.parametrize("name", ["s{}", "donor {} of the site"])
def test_names_of_neighbours_do_not_overlap(name):
    points = np.array([[0.0, 0.0], [0.02, 0.0], [0.04, 0.0], [1.0, 1.0]])
    assert overlap(boxes(written(points, [name.format(i) for i in range(4)]))) == 0


def test_names_overlap_less_than_all_on_one_side():
    rng = np.random.default_rng(1)
    points, names = rng.normal(size=(30, 2)), [f"patient {i}" for i in range(30)]
    ax = written(points, names)
    plain = Figure(figsize=(5, 4)).subplots()
    plain.scatter(*points.T)
    for name, point in zip(names, points, strict=True):
        plain.annotate(name, point, (5, 4), textcoords="offset points", fontsize=7)
    plain.figure.draw_without_rendering()
    assert overlap(boxes(ax)) < overlap(boxes(plain)) / 4
