"""The folder of results: what may be replaced, what is refused before any work, what failures leave."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from scggml.cli import _results as module
from scggml.cli._results import results_folder

fcntl = pytest.importorskip("fcntl")


def write(out, text, sources=()):
    with results_folder(out, sources=sources) as results:
        (results.partial / "a.txt").write_text(text)
        results.install({"seed": 3})


def content(folder):
    """All names below a folder, hidden ones too, with what files hold."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def out(tmp_path):
    return tmp_path / "place" / "out"


@pytest.fixture
def earlier(out):
    write(out, "earlier")
    return out


def test_new_folder_with_a_record(out):
    write(out, "text")
    assert set(content(out.parent)) == {"out", "out/a.txt", "out/run.json"}
    record = json.loads((out / "run.json").read_text())
    assert record["sha256"] == {"a.txt": hashlib.sha256(b"text").hexdigest()} and record["seed"] == 3


def test_earlier_run_is_replaced_as_a_whole(out):
    with results_folder(out) as results:
        for name in ("a.txt", "b.txt"):
            (results.partial / name).write_text("earlier")
        results.install({})
    out.chmod(0o750)
    write(out, "new")
    assert set(content(out.parent)) == {"out", "out/a.txt", "out/run.json"}
    assert (out / "a.txt").read_text() == "new" and out.stat().st_mode & 0o777 == 0o750


def test_empty_folder_is_taken(out):
    out.mkdir(parents=True)
    write(out, "text")
    assert set(content(out.parent)) == {"out", "out/a.txt", "out/run.json"}


def test_link_to_a_folder_stays_a_link(earlier, tmp_path):
    (tmp_path / "link").symlink_to(earlier)
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (earlier / "a.txt").read_text() == "new"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda out: (out / "notes.txt").write_text("mine"), "holds what is no scggml run: notes.txt. Name a new folder"),
        (lambda out: (out / "run.json").unlink(), "holds what is no scggml run: a.txt"),
        (lambda out: (out / "run.json").write_text("{"), "holds what is no scggml run: a.txt, run.json"),
        (lambda out: (out / "run.json").write_text("[1]"), "holds what is no scggml run: a.txt, run.json"),
        (lambda out: (out / "run.json").write_text('{"sha256": {"a.txt": 1}}'), "holds what is no scggml run"),
        (lambda out: (out / "a.txt").write_text("mine"), "of which a.txt was changed since and would be lost"),
        (lambda out: [(out / "a.txt").unlink(), (out / "a.txt").mkdir()], "holds what is no scggml run: a.txt"),
    ],
)  # fmt: skip
def test_what_is_not_ours_stays(earlier, change, text):
    change(earlier)
    before = content(earlier.parent)
    with pytest.raises(FileExistsError, match=text):
        write(earlier, "new")
    assert content(earlier.parent) == before


def test_litter_of_programs_that_show_folders_is_no_loss(earlier):
    (earlier / ".DS_Store").touch()
    write(earlier, "new")
    assert (earlier / "a.txt").read_text() == "new"


def test_files_that_were_deleted_are_no_loss(earlier):
    (earlier / "a.txt").unlink()
    write(earlier, "new")
    assert (earlier / "a.txt").read_text() == "new"


def test_source_inside_is_refused(earlier, tmp_path):
    source = earlier / "a.txt"
    (tmp_path / "link.txt").symlink_to(source)
    (tmp_path / "folder").symlink_to(earlier)
    for path, out in [(source, earlier), (tmp_path / "link.txt", earlier), (source, tmp_path / "folder"),
                      (tmp_path / "folder" / "a.txt", earlier)]:  # fmt: skip
        with pytest.raises(ValueError, match="which is to be read. Name another folder"):
            write(out, "new", sources=[earlier.parent, path])
    assert source.read_text() == "earlier"


def test_hard_link_to_the_source_is_no_loss(earlier, tmp_path):
    (tmp_path / "source.txt").hardlink_to(earlier / "a.txt")
    write(earlier, "new", sources=[tmp_path / "source.txt"])
    assert (tmp_path / "source.txt").read_text() == "earlier" and (earlier / "a.txt").read_text() == "new"


def test_places_that_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "below")
    before = content(tmp_path)
    for name, text in {
        "file": "file is a file", "file/sub": "file is a file", "file/sub/sub": "file is a file",
        "here": "current folder", "here/below": "current folder", "/": "current folder",
        "x" * 250: "cannot be written: File name too long",
    }.items():  # fmt: skip
        with pytest.raises((OSError, ValueError), match=f"--out .*{text}"):
            write(tmp_path / name, "new")
    assert content(tmp_path) == before


def test_mount_point(out, monkeypatch):
    monkeypatch.setattr(module.Path, "is_mount", lambda path: path == out)
    with pytest.raises(ValueError, match="or a mount point, and cannot be replaced as a whole"):
        write(out, "new")


@pytest.mark.skipif(not Path("/proc").is_mount(), reason="needs a file system without files of the user")
def test_file_system_that_takes_no_files():
    for name, text in {"/proc": "or a mount point", "/proc/none": "cannot be written: No such file"}.items():
        with pytest.raises((OSError, ValueError), match=f"--out {name} .*{text}"):
            write(Path(name), "new")


def test_no_right_to_write(out, monkeypatch):
    def refused(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    out.parent.mkdir()
    monkeypatch.setattr(module.Path, "mkdir", refused)
    with pytest.raises(OSError, match=r"--out .* cannot be written: Permission denied.*hidden folder beside it"):
        write(out, "new")


def test_full_disk_is_found_before_any_work(earlier, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = content(earlier.parent)
    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="cannot be written: No space left on device"), results_folder(earlier):
        pytest.fail("work was begun")
    assert content(earlier.parent) == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failures_leave_what_was(out, error):
    with pytest.raises(error), results_folder(out) as results:
        (results.partial / "a.txt").write_text("half")
        raise error
    assert content(out.parent.parent) == {}  # the folder around it is gone, too
    write(out, "earlier")
    before = content(out.parent)
    with pytest.raises(error), results_folder(out) as results:
        (results.partial / "a.txt").write_text("half")
        raise error
    assert content(out.parent) == before


def test_failing_second_rename_brings_the_earlier_run_back(earlier, monkeypatch):
    rename, before = module.Path.rename, content(earlier.parent)

    def failing(path, target):
        if path.name == ".out.partial":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(module.Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output"):
        write(earlier, "new")
    assert content(earlier.parent) == before


def test_one_run_at_a_time(earlier):
    with results_folder(earlier) as results:
        (results.partial / "a.txt").write_text("first")
        code = f"from scggml.cli import main; raise SystemExit(main(['demo', '--out', {str(earlier)!r}]))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 1 and "another run is writing to --out" in done.stderr
        results.install({})
    assert (earlier / "a.txt").read_text() == "first" and set(content(earlier.parent)) == {
        "out",
        "out/a.txt",
        "out/run.json",
    }


def test_file_systems_without_locks(earlier, monkeypatch):
    def no_locks(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    write(earlier, "new")
    assert set(content(earlier.parent)) == {"out", "out/a.txt", "out/run.json"}
    (earlier.parent / ".out.partial").mkdir()  # of a run that goes on, perhaps
    with pytest.raises(FileExistsError, match=r"\.out\.partial is of another run"):
        write(earlier, "newer")
    assert (earlier.parent / ".out.partial").is_dir() and (earlier / "a.txt").read_text() == "new"


def test_what_comes_in_between_is_not_lost(out):
    with results_folder(out) as results:
        (results.partial / "a.txt").write_text("new")
        out.mkdir()
        (out / "mine.txt").write_text("mine")
        with pytest.raises(FileExistsError, match=r"mine\.txt"):
            results.install({})
        assert results.rescue({}) == out.with_name("out.rescued")
    record = json.loads((out.with_name("out.rescued") / "run.json").read_text())
    assert set(record["sha256"]) == {"a.txt"}
    assert (out / "mine.txt").read_text() == "mine" and (out.with_name("out.rescued") / "a.txt").read_text() == "new"


def test_rescued_results_replace_nothing(out):
    for number in range(3):
        with results_folder(out) as results:
            (results.partial / "a.txt").write_text(str(number))
            results.rescue({})
    found = {folder.name: (folder / "a.txt").read_text() for folder in out.parent.iterdir()}
    assert found == {"out.rescued": "0", "out.rescued-2": "1", "out.rescued-3": "2"}
