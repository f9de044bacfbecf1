from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures._measures import Measures
from scggml.core.transport import _exact as module
from scggml.core.transport._checkpoint import Checkpoint
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._exact import solve_pairs, square_pairs

N = 7
N_PAIRS = N * (N - 1) // 2
RECORD = 16


def clouds(kind="dense", seed=0):
    rng = np.random.default_rng(seed)
    found = [rng.normal(size=(n, 4)) for n in (3, 5, 2, 6, 4, 1, 5)]
    return [sp.csr_array(np.where(x < 0.3, 0, x)) for x in found] if kind == "csr" else found


@pytest.fixture
def blocks(monkeypatch):
    """The blocks that are solved, one pair each; `blocks.fail_at` interrupts after that many blocks."""

    class Blocks(list):
        fail_at, error = None, KeyboardInterrupt

    solved, solve = Blocks(), module._solve_block

    def counted(*args):
        if len(solved) == solved.fail_at:
            raise solved.error
        solved.append(args[1].tolist())
        return solve(*args)

    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 1)
    monkeypatch.setattr(module, "_solve_block", counted)
    return solved


def opened(path, measures, cost="euclidean"):
    return Checkpoint.open(path, measures, square_pairs(len(measures)), cost)


def interrupted(measures, path, blocks, at, error=KeyboardInterrupt, cost="euclidean"):
    blocks.fail_at, blocks.error = at, error
    with pytest.raises(error):
        pairwise_distances(measures, cost=cost, n_jobs=1, checkpoint=path)
    blocks.fail_at = None
    blocks.clear()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize(("kind", "cost"), [("dense", "euclidean"), ("csr", "euclidean"), ("dense", "cityblock")])
def test_an_interrupted_computation_goes_on(tmp_path, blocks, kind, cost, error):
    measures, path = Measures.from_arrays(clouds(kind)), tmp_path / "distances"
    expected, gap = pairwise_distances(measures, cost=cost)
    assert len(blocks) == N_PAIRS
    blocks.clear()
    interrupted(measures, path, blocks, at=8, error=error, cost=cost)
    interrupted(measures, path, blocks, at=3, error=error, cost=cost)  # and once more
    found = pairwise_distances(measures, cost=cost, n_jobs=1, checkpoint=path)
    assert blocks == [[pair] for pair in square_pairs(N)[11:].tolist()]
    np.testing.assert_array_equal(found[0], expected)
    assert found[1] == gap
    blocks.clear()
    again = pairwise_distances(measures, cost=cost, checkpoint=path)
    assert blocks == []
    np.testing.assert_array_equal(again[0], expected)
    assert again[1] == gap
    assert path.stat().st_size == len(opened(path, measures, cost)._header) + N_PAIRS * RECORD  # left to its owner


def test_blocks_in_threads_are_kept_in_order(tmp_path, blocks, monkeypatch):
    measures, path = Measures.from_arrays(clouds()), tmp_path / "distances"
    expected, _ = pairwise_distances(measures)
    append, n_calls = Checkpoint.append, 0

    def failing(self, *records):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 6:
            raise OSError("no space left on device")
        append(self, *records)

    monkeypatch.setattr(Checkpoint, "append", failing)
    with pytest.raises(OSError, match="no space"):
        pairwise_distances(measures, n_jobs=3, checkpoint=path)
    monkeypatch.undo()
    done, _ = opened(path, measures).read(N_PAIRS)
    np.testing.assert_array_equal(done, expected[np.triu_indices(N, k=1)][:5])
    found, _ = pairwise_distances(measures, n_jobs=3, checkpoint=path)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("extra", [b"\x00", b"x" * (RECORD - 1)])
def test_a_record_cut_off_is_forgotten(tmp_path, blocks, extra):
    measures, path = Measures.from_arrays(clouds()), tmp_path / "distances"
    expected, gap = pairwise_distances(measures)
    blocks.clear()
    interrupted(measures, path, blocks, at=5)
    path.write_bytes(path.read_bytes() + extra)
    found = pairwise_distances(measures, n_jobs=1, checkpoint=path)
    assert len(blocks) == N_PAIRS - 5
    np.testing.assert_array_equal(found[0], expected)
    assert found[1] == gap
    blocks.clear()
    found = pairwise_distances(measures, checkpoint=path)
    assert blocks == []
    np.testing.assert_array_equal(found[0], expected)


def test_every_cut_leaves_a_prefix(tmp_path):
    measures = Measures.from_arrays(clouds())
    path = tmp_path / "distances"
    checkpoint = opened(path, measures)
    distances, gaps = np.arange(4.0), np.array([0, 1e-15, 2e-15, 0])
    checkpoint.append(distances[:1], gaps[:1])
    checkpoint.append(distances[1:], gaps[1:])
    whole = path.read_bytes()
    for cut in range(len(whole) - 4 * RECORD, len(whole) + 1):
        path.write_bytes(whole[:cut])
        n_done = (cut - len(whole)) // RECORD + 4
        found = opened(path, measures).read(N_PAIRS)
        np.testing.assert_array_equal(found[0], distances[:n_done])
        np.testing.assert_array_equal(found[1], gaps[:n_done])
        assert path.read_bytes() == whole[: len(whole) - (4 - n_done) * RECORD]


def test_the_gap_of_pairs_done_before_counts(tmp_path):
    measures = Measures.from_arrays(clouds())
    checkpoint = opened(tmp_path / "distances", measures)
    checkpoint.append(np.array([2.5]), np.array([0.125]))
    solved = solve_pairs(measures, square_pairs(N), checkpoint=checkpoint)
    assert solved.distances[0] == 2.5  # what is there is taken as it is
    assert solved.gap == 0.125
    assert solved.plans is None


def test_no_more_pairs_are_read_than_asked_for(tmp_path):
    measures = Measures.from_arrays(clouds())
    checkpoint = opened(tmp_path / "distances", measures)
    checkpoint.append(np.arange(5.0), np.zeros(5))
    np.testing.assert_array_equal(checkpoint.read(3)[0], [0, 1, 2])


def others():
    weights = [np.full(len(x), 1 / len(x)) for x in clouds()]
    weights[2] = np.array([0.4, 0.6])
    moved = clouds()
    moved[3][2, 1] = np.nextafter(moved[3][2, 1], 9)
    yield "a value", Measures.from_arrays(moved), "euclidean"
    yield "weights", Measures.from_arrays(clouds(), weights), "euclidean"
    yield "cost", Measures.from_arrays(clouds()), "cosine"
    yield "fewer samples", Measures.from_arrays(clouds()[:-1]), "euclidean"
    yield "order of samples", Measures.from_arrays(clouds()[::-1]), "euclidean"
    yield "sizes", Measures.from_arrays(np.split(np.concatenate(clouds()), [2, 8, 10, 16, 20, 21])), "euclidean"
    yield "precision", Measures.from_arrays([x.astype(np.float32) for x in clouds()]), "euclidean"
    yield "sparse", Measures.from_arrays([sp.csr_array(x) for x in clouds()]), "euclidean"
    yield "width", Measures.from_arrays([x[:, :3] for x in clouds()]), "euclidean"


@pytest.mark.parametrize(("measures", "cost"), [pytest.param(*rest, id=name) for name, *rest in others()])
def test_a_file_of_something_else_is_an_error(tmp_path, measures, cost):
    path = tmp_path / "distances"
    mine = Measures.from_arrays(clouds())
    opened(path, mine).append(np.ones(2), np.zeros(2))
    content = path.read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint='.*distances' does not hold .* Delete the file, or name another"):
        opened(path, measures, cost)
    assert path.read_bytes() == content
    assert len(opened(str(path), mine).read(N_PAIRS)[0]) == 2


def test_the_same_bytes_of_another_type_are_another_problem(tmp_path):
    mine = Measures.from_arrays(clouds())
    opened(tmp_path / "distances", mine)
    for points in (mine.points.view(np.float32), mine.points.reshape(len(mine.weights), 2, 2)):
        with pytest.raises(ValueError, match="Delete the file"):
            opened(tmp_path / "distances", mine.with_points(points))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([[0.0, 1.0], [2.0, 0.0]], [[1.0, 0.0], [2.0, 0.0]]),  # in another column
        ([[1.0, 2.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 2.0]]),  # in another row
    ],
)
def test_sparse_values_elsewhere_are_another_problem(tmp_path, x, y):
    one, two = (Measures.from_arrays([sp.csr_array(np.eye(2)), sp.csr_array(z)]) for z in (x, y))
    opened(tmp_path / "distances", one)
    with pytest.raises(ValueError, match="Delete the file"):
        opened(tmp_path / "distances", two)
    opened(tmp_path / "distances", one)


def test_a_file_that_is_no_checkpoint_is_left_alone(tmp_path):
    measures = Measures.from_arrays(clouds())
    for content in (b"", b"notes", b"scggml distances ", b"x" * 500):
        path = tmp_path / "notes.txt"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"notes\.txt"):
            opened(path, measures)
        assert path.read_bytes() == content


def test_the_same_measures_in_another_memory_order_are_the_same(tmp_path):
    mine = Measures.from_arrays(clouds())
    opened(tmp_path / "distances", mine)
    opened(tmp_path / "distances", mine.with_points(np.asfortranarray(mine.points)))
    opened(tmp_path / "distances", Measures(mine.points, mine.offsets, np.repeat(mine.weights, 2)[::2]))


def test_sparse_clouds_without_any_value(tmp_path, blocks):
    measures, path = Measures.from_arrays([sp.csr_array((3, 4)), sp.csr_array((2, 4))]), tmp_path / "distances"
    assert measures.points.nnz == 0
    for n_solved in (1, 0):
        blocks.clear()
        distances, gap = pairwise_distances(measures, checkpoint=path)
        np.testing.assert_array_equal(distances, np.zeros((2, 2)))
        assert gap == 0
        assert len(blocks) == n_solved


def test_points_without_mass(tmp_path, blocks):
    weights = [np.r_[0.0, rest] for rest in map(np.ones, (2, 4, 1, 5, 3))] + [np.ones(1), np.r_[1.0, 0, 2, 0, 0]]
    measures, path = Measures.from_arrays(clouds(), weights), tmp_path / "distances"
    expected, _ = pairwise_distances(measures)
    blocks.clear()
    interrupted(measures, path, blocks, at=4)
    found, _ = pairwise_distances(measures, checkpoint=path)
    assert len(blocks) == N_PAIRS - 4
    np.testing.assert_array_equal(found, expected)


def test_a_single_sample_has_nothing_to_keep(tmp_path):
    path, measures = str(tmp_path / "distances"), Measures.from_arrays(clouds()[:1])
    np.testing.assert_array_equal(pairwise_distances(measures, checkpoint=path)[0], [[0.0]])


def test_other_pairs_of_the_same_samples_are_another_problem(tmp_path, blocks):
    path, (*left, x, y, z) = tmp_path / "distances", clouds()
    of = Measures.from_arrays
    expected = pairwise_distances(of(left), of([x, y, z]))[0]
    blocks.clear()
    for n_solved in (len(left) * 3, 0):
        found = pairwise_distances(of(left), of([x, y, z]), checkpoint=path)[0]
        np.testing.assert_array_equal(found, expected)
        assert len(blocks) == n_solved
        blocks.clear()
    for first, *second in ((clouds(),), ([*left, x], [y, z])):
        with pytest.raises(ValueError, match="Delete the file"):
            pairwise_distances(of(first), *map(of, second), checkpoint=path)
