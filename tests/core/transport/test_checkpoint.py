from __future__ import annotations

import errno
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from scggml.core.measures._measures import Measures
from scggml.core.transport import _checkpoint, _exact
from scggml.core.transport._checkpoint import Checkpoint, check_place
from scggml.core.transport._distances import pairwise_distances
from scggml.core.transport._exact import solve_pairs, square_pairs

N = 7
PAIRS = square_pairs(N)
N_PAIRS = len(PAIRS)
RECORD = 28


def clouds(kind="dense", seed=0):
    rng = np.random.default_rng(seed)
    found = [rng.normal(size=(n, 4)) for n in (3, 5, 2, 6, 4, 1, 5)]
    return [sp.csr_array(np.where(x < 0.3, 0, x)) for x in found] if kind == "csr" else found


@pytest.fixture
def blocks(monkeypatch):
    """The blocks that are solved, one pair each; `blocks.fail_at` interrupts after that many blocks."""

    class Blocks(list):
        fail_at, error = None, KeyboardInterrupt

    solved, solve = Blocks(), _exact._solve_block

    def counted(*args):
        if len(solved) == solved.fail_at:
            raise solved.error
        solved.append(args[1].tolist())
        return solve(*args)

    monkeypatch.setattr(_exact, "_BLOCK_ENTRIES", 1)
    monkeypatch.setattr(_exact, "_solve_block", counted)
    return solved


@pytest.fixture
def path(tmp_path):
    return tmp_path / "distances"


def read(path, problem="a problem", pairs=PAIRS):
    with Checkpoint.open(path, problem) as checkpoint:
        return checkpoint.read(pairs)


def header(path):
    return path.read_bytes().partition(b"\n")[0] + b"\n"


def interrupted(measures, path, blocks, at, error=KeyboardInterrupt, cost="euclidean"):
    blocks.fail_at, blocks.error = at, error
    with pytest.raises(error):
        pairwise_distances(measures, cost=cost, n_jobs=1, checkpoint=path)
    blocks.fail_at = None
    blocks.clear()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize(("kind", "cost"), [("dense", "euclidean"), ("csr", "euclidean"), ("dense", "cityblock")])
def test_an_interrupted_computation_goes_on(path, blocks, kind, cost, error):
    measures = Measures.from_arrays(clouds(kind))
    expected, gap = pairwise_distances(measures, cost=cost)
    assert len(blocks) == N_PAIRS
    blocks.clear()
    interrupted(measures, path, blocks, at=8, error=error, cost=cost)
    interrupted(measures, path, blocks, at=3, error=error, cost=cost)  # and once more
    found = pairwise_distances(measures, cost=cost, n_jobs=1, checkpoint=path)
    assert blocks == [[pair] for pair in PAIRS[11:].tolist()]
    np.testing.assert_array_equal(found[0], expected)
    assert found[1] == gap
    blocks.clear()
    again = pairwise_distances(measures, cost=cost, checkpoint=path)
    assert blocks == []
    np.testing.assert_array_equal(again[0], expected)
    assert again[1] == gap
    assert path.stat().st_size == len(header(path)) + N_PAIRS * RECORD  # left to its owner


def test_a_record_is_as_described(path):
    with Checkpoint.open(path, "a problem") as checkpoint:
        checkpoint.append(PAIRS[3:4], np.array([2.5]), np.array([0.125]))
    first, record = path.read_bytes().split(b"\n", 1)
    assert first == b"scggml distances 2 a problem"
    body = np.array([0, 4], "<u4").tobytes() + np.array([2.5, 0.125], "<f8").tobytes()
    checksum = zlib.crc32(body, zlib.crc32(first + b"\n"))
    assert record == body + np.array([checksum], "<u4").tobytes()
    assert [x.tolist() for x in read(path)] == [[3], [2.5], [0.125]]


def test_blocks_in_threads_are_kept_in_order(path, blocks, monkeypatch):
    measures = Measures.from_arrays(clouds())
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
    assert path.stat().st_size == len(header(path)) + 5 * RECORD
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_exact, "_BLOCK_ENTRIES", 1)
        found, _ = pairwise_distances(measures, n_jobs=3, checkpoint=path)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("extra", [b"\x00", b"x" * (RECORD - 1)])
def test_a_record_cut_off_is_forgotten(path, blocks, extra):
    measures = Measures.from_arrays(clouds())
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


def test_every_cut_leaves_a_prefix(path):
    distances, gaps = np.arange(4.0), np.array([0, 1e-15, 2e-15, 0])
    with Checkpoint.open(path, "a problem") as checkpoint:
        checkpoint.append(PAIRS[:1], distances[:1], gaps[:1])
        checkpoint.append(PAIRS[1:4], distances[1:], gaps[1:])
    whole = path.read_bytes()
    start = len(header(path))
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        n_done = max(cut - start, 0) // RECORD
        done, *found = read(path)
        np.testing.assert_array_equal(done, np.arange(n_done))
        np.testing.assert_array_equal(found, [distances[:n_done], gaps[:n_done]])
        assert path.read_bytes() == whole[: start + n_done * RECORD]


def test_no_flipped_bit_becomes_a_distance(path, blocks):
    """Also where the pair, the gap or the checksum itself is damaged; sound records after it are kept."""
    measures = Measures.from_arrays(clouds())
    expected = pairwise_distances(measures, checkpoint=path)
    whole, start = path.read_bytes(), len(header(path))
    rng = np.random.default_rng(0)
    for byte in [*range(start, start + RECORD), *rng.integers(start, len(whole), 20)]:
        damaged = bytearray(whole)
        damaged[byte] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        blocks.clear()
        with pytest.warns(UserWarning, match=r"checkpoint='.*distances' has 1 damaged record\(s\) among 21.* again"):
            found = pairwise_distances(measures, checkpoint=path)
        assert blocks == [[PAIRS[(byte - start) // RECORD].tolist()]]
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1] == expected[1]
        assert sorted(records_of(path)) == sorted(records_of(whole))


def records_of(file):
    content = file if isinstance(file, bytes) else file.read_bytes()
    body = content.split(b"\n", 1)[1]
    return [body[i : i + RECORD] for i in range(0, len(body), RECORD)]


@pytest.mark.parametrize("first", [0, 4, N_PAIRS - 1])
def test_zeros_are_no_distances(path, blocks, first):
    """As a file system may leave them after the power has failed."""
    measures = Measures.from_arrays(clouds())
    expected, _ = pairwise_distances(measures, checkpoint=path)
    content = bytearray(path.read_bytes())
    from_here = len(header(path)) + first * RECORD
    content[from_here:] = bytes(len(content) - from_here)
    path.write_bytes(content)
    blocks.clear()
    with pytest.warns(UserWarning, match=f"{N_PAIRS - first} damaged"):
        found, _ = pairwise_distances(measures, checkpoint=path)
    assert len(blocks) == N_PAIRS - first
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("distance", "gap"), [(np.nan, 0.0), (np.inf, 0.0), (-1.0, 0.0), (1.0, np.nan), (1.0, -1.0)])
def test_numbers_that_are_no_distances_are_damage(path, distance, gap):
    with Checkpoint.open(path, "a problem") as checkpoint:
        checkpoint.append(PAIRS[:2], np.array([distance, 3.0]), np.array([gap, 0.0]))
    with pytest.warns(UserWarning, match="1 damaged"):
        done, distances, _ = read(path)
    assert (done.tolist(), distances.tolist()) == ([1], [3.0])


def test_the_only_pair_is_damaged(path):
    with Checkpoint.open(path, "a problem") as checkpoint:
        checkpoint.append(PAIRS[1:2], np.ones(1), np.zeros(1))  # sound, but of a pair that was not asked for
    with pytest.warns(UserWarning, match=r"1 damaged record\(s\) among 1"):
        assert len(read(path, pairs=PAIRS[:1])[0]) == 0


def test_records_of_another_problem_are_damage(tmp_path):
    for name in ("one", "two"):
        with Checkpoint.open(tmp_path / name, name) as checkpoint:
            checkpoint.append(PAIRS[:2], np.array([1.0, 2.0]), np.zeros(2))
    one, two = ((tmp_path / name).read_bytes() for name in ("one", "two"))
    (tmp_path / "one").write_bytes(one + two.split(b"\n", 1)[1])
    with pytest.warns(UserWarning, match="2 damaged record.* among 4"):
        assert read(tmp_path / "one", "one")[0].tolist() == [0, 1]


def test_records_may_come_in_any_order_and_twice(path):
    order = np.random.default_rng(0).permutation(N_PAIRS)
    with Checkpoint.open(path, "a problem") as checkpoint:
        checkpoint.append(PAIRS[order], order.astype(float), np.zeros(N_PAIRS))
        checkpoint.append(PAIRS[:3], np.arange(3.0), np.zeros(3))
    done, distances, _ = read(path)
    np.testing.assert_array_equal(done, np.arange(N_PAIRS))
    np.testing.assert_array_equal(distances, np.arange(N_PAIRS))


def test_the_gap_of_pairs_done_before_counts(path):
    with Checkpoint.open(path, "a problem") as checkpoint:
        checkpoint.append(PAIRS[4:5], np.array([2.5]), np.array([0.125]))
        solved = solve_pairs(Measures.from_arrays(clouds()), PAIRS, checkpoint=checkpoint)
    expected = solve_pairs(Measures.from_arrays(clouds()), PAIRS).distances
    assert solved.distances[4] == 2.5  # what is there is taken as it is
    np.testing.assert_array_equal(np.delete(solved.distances, 4), np.delete(expected, 4))
    assert solved.gap == 0.125
    assert solved.plans is None


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
def test_a_file_of_something_else_is_an_error(path, measures, cost, blocks):
    mine = Measures.from_arrays(clouds())
    interrupted(mine, path, blocks, at=2)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint='.*distances' holds distances of other .* Delete the file, or"):
        pairwise_distances(measures, cost=cost, checkpoint=path)
    assert blocks == []
    assert path.read_bytes() == content
    pairwise_distances(mine, checkpoint=str(path))
    assert len(blocks) == N_PAIRS - 2


def test_what_points_were_computed_from_is_what_counts(path, blocks):
    """Another machine may project the same cells to other last bits."""
    measures = Measures.from_arrays(clouds())
    expected, _ = pairwise_distances(measures, checkpoint=path, identity="cells and metric")
    blocks.clear()
    elsewhere = measures.with_points(np.nextafter(measures.points, 9))
    found, _ = pairwise_distances(elsewhere, checkpoint=path, identity="cells and metric")
    assert blocks == []
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="other samples, or under another metric"):
        pairwise_distances(measures, checkpoint=path, identity="cells and another metric")


@pytest.mark.parametrize("content", [b"notes", b"x" * 500, bytes(80)])
def test_what_is_no_checkpoint_is_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint='.*distances' is not a checkpoint of scggml\. Name another file"):
        read(path)
    assert path.read_bytes() == content


def test_a_file_of_another_version_is_an_error(path):
    path.write_bytes(b"scggml distances " + b"0" * 64 + b"\n" + bytes(16))
    with pytest.raises(ValueError, match=r"written by another version of scggml\. Delete the file"):
        read(path)


def test_an_empty_file_is_a_new_checkpoint(path):
    """As a process leaves it that is killed between opening and writing."""
    path.touch()
    assert len(read(path)[0]) == 0
    assert path.read_bytes() == b"scggml distances 2 a problem\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("folder", "it is a folder"),
        ("none/distances", "there is no folder '.*none'"),
        ("file/distances", "there is no folder '.*file'"),
    ],
)
def test_places_that_cannot_be_written(tmp_path, name, text):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    for call in (check_place, read):
        with pytest.raises(ValueError, match=f"checkpoint='.*' cannot be written: {text}. Name a file in a folder"):
            call(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_places_without_permission(path, monkeypatch):
    monkeypatch.setattr(_checkpoint.os, "access", lambda place, mode: False)  # root may write everywhere
    with pytest.raises(ValueError, match="cannot be written: there is no permission"):
        check_place(path)
    assert not path.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk(path):
    with Path("/dev/full").open("wb", buffering=0) as full:
        checkpoint = Checkpoint(path, full, "a problem")
        with pytest.raises(OSError, match=r"checkpoint='.*distances' could not be written: .*No space left.* are kept"):
            checkpoint.append(PAIRS[:1], np.ones(1), np.zeros(1))


def test_two_computations_on_one_file(path):
    with Checkpoint.open(path, "a problem") as checkpoint:
        checkpoint.append(PAIRS[:1], np.ones(1), np.zeros(1))
        content = path.read_bytes()
        with pytest.raises(ValueError, match=r"checkpoint='.*distances' is in use: another process or thread"):
            read(path)
        assert path.read_bytes() == content
    assert len(read(path)[0]) == 1


HOLDER = """
import sys, time
from scggml.core.transport._checkpoint import Checkpoint
with Checkpoint.open(sys.argv[1], "a problem"):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_process_leaves_no_lock(path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(ValueError, match="is in use"):
            read(path)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert len(read(path)[0]) == 0


def test_file_systems_without_locks(path, monkeypatch, caplog):
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*args):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert len(read(path)[0]) == 0
    assert "cannot be locked" in caplog.text
    assert "one process at a time" in caplog.text


def test_sparse_clouds_without_any_value(path, blocks):
    measures = Measures.from_arrays([sp.csr_array((3, 4)), sp.csr_array((2, 4))])
    assert measures.points.nnz == 0
    for n_solved in (1, 0):
        blocks.clear()
        distances, gap = pairwise_distances(measures, checkpoint=path)
        np.testing.assert_array_equal(distances, np.zeros((2, 2)))
        assert gap == 0
        assert len(blocks) == n_solved


def test_points_without_mass(path, blocks):
    weights = [np.r_[0.0, rest] for rest in map(np.ones, (2, 4, 1, 5, 3))] + [np.ones(1), np.r_[1.0, 0, 2, 0, 0]]
    measures = Measures.from_arrays(clouds(), weights)
    expected, _ = pairwise_distances(measures)
    blocks.clear()
    interrupted(measures, path, blocks, at=4)
    found, _ = pairwise_distances(measures, checkpoint=path)
    assert len(blocks) == N_PAIRS - 4
    np.testing.assert_array_equal(found, expected)


def test_a_single_sample_has_nothing_to_keep(path):
    measures = Measures.from_arrays(clouds()[:1])
    for _ in range(2):
        np.testing.assert_array_equal(pairwise_distances(measures, checkpoint=path)[0], [[0.0]])


def test_other_pairs_of_the_same_samples_are_another_problem(path, blocks):
    *left, x, y, z = clouds()
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


KILLED = """
import sys
import numpy as np
from scggml.core.measures._measures import Measures
from scggml.core.transport import _exact
from scggml.core.transport._distances import pairwise_distances
_exact._BLOCK_ENTRIES = 20_000
rng = np.random.default_rng(0)
measures = Measures.from_arrays([rng.normal(size=(100, 3)) for _ in range(24)])
print("begin", flush=True)
np.save(sys.argv[2], pairwise_distances(measures, n_jobs=2, checkpoint=sys.argv[1])[0])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_same_bits_after_kills_at_random_moments(path, tmp_path):
    rng = np.random.default_rng(0)
    arrays = np.random.default_rng(0)
    expected, _ = pairwise_distances(Measures.from_arrays([arrays.normal(size=(100, 3)) for _ in range(24)]))
    result, n_killed, sizes = tmp_path / "result.npy", 0, [0]
    while not result.exists():
        command = [sys.executable, "-c", KILLED, str(path), str(result)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "begin\n"
            if n_killed < 3:
                until = sizes[-1] + int(rng.integers(1, 2000))  # bytes, not seconds: the machine may be busy
                while process.poll() is None and (path.stat().st_size if path.exists() else 0) < until:
                    time.sleep(0.001)
                process.kill()
                n_killed += 1
            process.wait()
        sizes.append(path.stat().st_size)
    np.testing.assert_array_equal(np.load(result), expected)
    assert n_killed >= 1
