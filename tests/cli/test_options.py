"""Options from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from scggml.cli._options import read_options


@pytest.fixture
def config(tmp_path):
    def write(text):
        (tmp_path / "run.toml").write_text(text, encoding="utf-8")
        return str(tmp_path / "run.toml")

    return write


def test_options_of_a_file(config):
    file = config('sample-key = "patient"\nlabel-key = "--odd"\nout = "a b"\nseed = 3\nreport = true\nquiet = false\n')
    args = read_options(["run", "cells.h5ad", "--config", file])
    typed = read_options(
        ["run", "cells.h5ad", "--sample-key", "patient", "--label-key=--odd", "--out", "a b", "--seed", "3", "--report"]
    )
    assert vars(args) == {**vars(typed), "config": file}
    assert args.report and not args.quiet and args.out == Path("a b")


def test_the_command_line_wins(config):
    file = config('sample-key = "a"\nlabel-key = "b"\nout = "c"\nn-jobs = 2\n')
    for argv in (
        ["run", "cells.h5ad", f"--config={file}", "--label-key", "mine", "--n-jobs", "-1"],
        ["run", "--label-key", "mine", "cells.h5ad", "--n-jobs", "-1", "--config", file],
    ):
        args = read_options(argv)
        assert (args.sample_key, args.label_key, args.n_jobs) == ("a", ["mine"], -1)


def test_several_labels(config):
    file = config("sample-key = 'a'\nlabel-key = ['b', 'c']\nout = 'o'\n")
    assert read_options(["run", "cells.h5ad", "--config", file]).label_key == ["b", "c"]
    typed = ["--label-key", "d", "--label-key=e"]
    assert read_options(["run", "cells.h5ad", "--config", file, *typed]).label_key == ["d", "e"]


def test_options_of_map(config):
    args = read_options(["map", "new.h5ad", "--config", config('reference = "r.h5ad"\nout = "o"\n')])
    assert (args.reference, args.out, args.sample_key) == (Path("r.h5ad"), Path("o"), None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'label = "x"\n',
            [
                "unknown keys: label. Known: batch-key, cell-type-key, donor-key, figure-format, label-key, label-kind, layer, "
            ],
        ),
        ('label_key = "x"\n', ["unknown keys: label_key"]),
        ('config = "x"\n', ["unknown keys: config"]),
        ('file = "x"\n', ["unknown keys: file"]),
        ("[run]\nseed = 1\n", ["unknown keys: run"]),
        ("seed\n", ["run.toml is no TOML file", 'label-key = "L"']),
        ("seed = 1.5\n", ["seed in", "text or a whole number, found 1.5"]),
        ("seed = true\n", ["seed in", "text or a whole number, found True"]),
        ("sample-key = ['a']\n", ["sample-key in", "found ['a']"]),
        ("label-key = ['a', 1.5]\n", ["label-key in", "or a list of these, found ['a', 1.5]"]),
        ("label-key = []\n", ["label-key in", "found []"]),
        ("report = 1\n", ["report in", "true or false, found 1"]),
        ("seed = -3\n", ["argument --seed: must be a whole number from 0", "'-3'"]),
        ('label-kind = "number"\n', ["argument --label-kind: invalid choice: 'number'"]),
    ],
)
def test_wrong_files(config, capsys, text, words):
    argv = ["run", "c.h5ad", "--sample-key", "s", "--label-key", "l", "--out", "o", "--config", config(text)]
    with pytest.raises(SystemExit) as ended:
        read_options(argv)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and all(word in said for word in words), said


def test_files_that_are_not_there(tmp_path, capsys):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for name, word in {
        "none.toml": "cannot be read: No such file",
        ".": "cannot be read",
        "binary.toml": "no TOML",
    }.items():
        with pytest.raises(SystemExit):
            read_options(["run", "c.h5ad", "--config", str(tmp_path / name)])
        assert word in capsys.readouterr().err


def test_a_demo_has_no_file(capsys):
    with pytest.raises(SystemExit):
        read_options(["demo", "--config", "run.toml"])
    assert "unrecognized arguments: --config" in capsys.readouterr().err
