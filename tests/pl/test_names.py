from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from scggml.pl._names import drawn_text, write_names


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, _x and %", "plain, _x and %"),
        (r"$\frac$", r"\$\frac\$"),
        (r"\$", r"\\$"),
        ("a\nb\tc", "a b c"),
        ("a\0b\ud800", "a\ufffdb\ufffd"),
        ("a" * 40 + "b" * 5 + "c" * 40, "a" * 40 + "\N{HORIZONTAL ELLIPSIS}" + "c" * 40),
        ("a" * 80, "a" * 80),
    ],
)
def test_texts_of_the_user(text, expected):
    assert drawn_text(text) == expected


def test_texts_on_several_lines():
    assert drawn_text("one $ two", 6) == "one \\$\ntwo"
    assert drawn_text("x" * 60, 20) == "\n".join(["x" * 20] * 3)
    assert drawn_text("x" * 5000, 20).count("\n") <= 10


def test_a_name_on_one_line_loses_its_middle_and_no_space():
    assert (
        drawn_text("lupus, active, patient 12 of Oslo", letters=28)
        == "lupus, active,\N{HORIZONTAL ELLIPSIS}ent 12 of Oslo"
    )
    assert drawn_text("patient 12 of Oslo", letters=28) == "patient 12 of Oslo"


@pytest.mark.parametrize("name", ["$", "$$", r"a $\frac$ b", r"\$", "$a$ and $b$"])
def test_dollars_are_drawn_as_they_are(name):
    """As wide as the same text without the parser of formulas."""
    figure = Figure(figsize=(5, 4))
    drawn = figure.text(0, 0, drawn_text(name))
    plain = figure.text(0, 0, name, parse_math=False)
    figure.draw_without_rendering()
    assert drawn.get_window_extent().width == plain.get_window_extent().width
