from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import inspect
import logging
import os
import socket
import subprocess
import sys
import threading
import time

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scggml as sg
from scggml.datasets._download import load_cohort

pytest.importorskip("pooch")

KIDNEY = "1c360b0b-eb2f-45a3-aba9-056026b39fa5.h5ad"
COHORTS = {
    "kidney_cohort": (KIDNEY, "donor_id", "disease"),
    "breast_cohort": ("b8b5be07-061b-4390-af0a-f9ced877a068.h5ad", "donor_id", "reported_diseases"),
    "myocardial_infarction_cohort": ("c1f6034b-7973-45e1-85e7-16933d0550bc.h5ad", "sample", "patient_group"),
}


class Server:
    """Files over HTTP, and what was asked for."""

    def __init__(self):
        self.files = {}
        self.requests = []
        self.missing_bytes = 0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.path)
                content = server.files.get(self.path.rpartition("/")[2])
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) - server.missing_bytes])

            def log_message(self, *args):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        self.thread = threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def stop(self):
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join()


def make_cohort(sample_key, label_key):
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            sample_key: pd.Categorical(np.repeat(["a", "b", "c"], 4)),
            label_key: pd.Categorical(np.repeat(["normal", "ill"], [4, 8])),
        },
        index=[f"cell{i}" for i in range(12)],
    )
    counts = sp.csr_matrix(rng.poisson(2, size=(12, 5)).astype(np.float32))
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"ENSG{i}" for i in range(5)]))


def h5ad_bytes(adata, folder):
    path = folder / "made.h5ad"
    adata.write_h5ad(path)
    content = path.read_bytes()
    path.unlink()
    return content


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture(autouse=True)
def no_other_cache(monkeypatch, tmp_path):
    """Nothing outside of the test's folder is read or written, and a proxy of the machine does not matter."""
    monkeypatch.delenv("SCGGML_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def server():
    server = Server()
    yield server
    with contextlib.suppress(OSError):
        server.stop()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def content(server, tmp_path):
    """The kidney cohort's file, on the server."""
    server.files[KIDNEY] = h5ad_bytes(make_cohort("donor_id", "disease"), tmp_path)
    return server.files[KIDNEY]


def kidney(server, cache, **kwargs):
    """Load the kidney cohort from the server, with arguments that the public function does not have."""
    defaults = {"base_url": getattr(server, "url", server), "progress": False, "backed": False}
    keys = {"sample_key": "donor_id", "label_key": "disease"}
    return load_cohort(KIDNEY.removesuffix(".h5ad"), cache_dir=cache, **keys, **(defaults | kwargs))


@pytest.mark.parametrize("name", COHORTS)
def test_downloads_once(name, server, cache, tmp_path, monkeypatch):
    file, sample_key, label_key = COHORTS[name]
    made = make_cohort(sample_key, label_key)
    server.files[file] = h5ad_bytes(made, tmp_path)
    here = functools.partial(load_cohort, base_url=server.url, progress=False)
    monkeypatch.setattr(f"scggml.datasets._{name}.load_cohort", here)
    load = getattr(sg.datasets, name)
    first = load(cache_dir=cache)
    assert server.requests == [f"/{file}"]
    assert [path.name for path in cache.iterdir()] == [file]
    assert (cache / file).read_bytes() == server.files[file]
    server.stop()
    for adata in (first, load(cache_dir=str(cache))):
        pd.testing.assert_frame_equal(adata.obs, made.obs)
        assert (adata.X != made.X).nnz == 0
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", COHORTS)
def test_arguments_and_default_address(name):
    parameters = inspect.signature(getattr(sg.datasets, name)).parameters
    assert list(parameters) == ["cache_dir", "backed"]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())
    default = inspect.signature(load_cohort).parameters["base_url"].default
    assert default == "https://datasets.cellxgene.cziscience.com"


def test_base_url_may_have_a_path_and_end_in_a_slash(server, cache, content):
    kidney(f"{server.url}/mirror/", cache)
    assert server.requests == [f"/mirror/{KIDNEY}"]


def test_right_checksum(server, cache, content):
    kidney(server, cache, checksum=sha256(content))
    assert kidney(server, cache, checksum=sha256(content).upper().replace("SHA256", "sha256")).n_obs == 12
    assert len(server.requests) == 1


def test_wrong_checksum_of_a_download(server, cache, content):
    wrong = "sha256:" + 64 * "0"
    with pytest.raises(
        ValueError, match=f"{server.url}/{KIDNEY} is not the published file: .* instead of '{wrong}'"
    ) as caught:
        kidney(server, cache, checksum=wrong)
    assert sha256(content).removeprefix("sha256:") in str(caught.value)
    assert "The download was not kept" in str(caught.value)
    assert not list(cache.iterdir())
    assert kidney(server, cache, checksum=sha256(content)).n_obs == 12


def test_wrong_checksum_of_a_cached_file(server, cache, content):
    kidney(server, cache)
    server.stop()
    with pytest.raises(
        ValueError, match="is not the published file: its checksum is .* instead of 'sha256:f+'"
    ) as caught:
        kidney(server, cache, checksum="sha256:" + 64 * "f")
    assert str(cache / KIDNEY) in str(caught.value)
    assert sha256(content) in str(caught.value)
    assert "Delete it" in str(caught.value)
    assert (cache / KIDNEY).read_bytes() == content
    assert kidney(server, cache).n_obs == 12


@pytest.mark.parametrize("checksum", ["", "sha256:12", 64 * "0", "md5:" + 32 * "0", "sha256:" + 64 * "g", 5])
def test_malformed_checksum(server, cache, content, checksum):
    with pytest.raises(ValueError, match="checksum must be None or 'sha256:' followed by 64 hexadecimal digits, found"):
        kidney(server, cache, checksum=checksum)
    assert not server.requests


def test_checksum_is_logged_if_none_was_given(server, cache, content, caplog):
    with caplog.at_level(logging.INFO, logger="scggml"):
        kidney(server, cache, checksum=sha256(content))
        assert not caplog.messages
        (cache / KIDNEY).unlink()
        kidney(server, cache)
    (message,) = caplog.messages
    assert str(cache / KIDNEY) in message and sha256(content) in message


def test_truncated_download_is_not_kept(server, cache, content):
    server.missing_bytes = 100
    with pytest.raises(ConnectionError, match="could not be downloaded"):
        kidney(server, cache)
    assert not list(cache.iterdir())
    server.missing_bytes = 0
    assert kidney(server, cache).n_obs == 12


def test_interrupted_download_starts_again(server, cache, content, monkeypatch):
    import pooch

    def interrupted(self, url, output_file, pooch, check_only=False):
        with open(output_file, "wb") as file:  # noqa: PTH123 as pooch does
            file.write(content[:200])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kidney(server, cache)
    assert not list(cache.iterdir())
    assert kidney(server, cache).n_obs == 12


def test_file_that_the_server_has_not(server, cache):
    with pytest.raises(ConnectionError, match="could not be downloaded: 404") as caught:
        kidney(server, cache)
    assert f"{server.url}/{KIDNEY}" in str(caught.value)
    assert str(cache / KIDNEY) in str(caught.value)
    assert not list(cache.iterdir())


def test_no_network(cache, content, server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(ConnectionError, match="Check the network and try again") as caught:
        kidney(url, cache)
    assert f"{url}/{KIDNEY}" in str(caught.value)
    assert f"by hand and put it at {cache / KIDNEY}" in str(caught.value)
    (cache / KIDNEY).write_bytes(content)
    assert kidney(url, cache).n_obs == 12


def test_web_page_instead_of_a_file(server, cache):
    server.files[KIDNEY] = b"<!DOCTYPE html> Please log in"
    with pytest.raises(ConnectionError, match="begins with b'<!DOCTYP', which is no HDF5 file"):
        kidney(server, cache)
    assert not list(cache.iterdir())


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize("damage", [lambda content: b"nonsense", lambda content: content[:3000]])
def test_corrupt_file_in_the_cache(server, cache, content, damage, backed):
    cache.mkdir()
    (cache / KIDNEY).write_bytes(damage(content))
    with pytest.raises(OSError, match="cannot be read as h5ad") as caught:
        kidney(server, cache, backed=backed)
    assert str(cache / KIDNEY) in str(caught.value) and "Delete it" in str(caught.value)
    (cache / KIDNEY).unlink()
    assert kidney(server, cache, backed=backed).n_obs == 12


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize(
    ("columns", "missing"), [(["donor_id"], "'disease'"), ([], "'donor_id' and 'disease'"), (["disease"], "'donor_id'")]
)
def test_missing_column(server, cache, tmp_path, columns, missing, backed):
    made = make_cohort("donor_id", "disease")
    made.obs = made.obs[columns].assign(age=3)
    server.files[KIDNEY] = h5ad_bytes(made, tmp_path)
    with pytest.raises(KeyError, match=f"has no column {missing} in obs. Found: .*age") as caught:
        kidney(server, cache, backed=backed)
    assert KIDNEY in str(caught.value)
    (cache / KIDNEY).rename(cache / "closed.h5ad")
    ad.read_h5ad(cache / "closed.h5ad", backed="r+").file.close()  # nobody holds it open


def test_environment_variable(server, cache, content, monkeypatch, tmp_path):
    monkeypatch.setenv("SCGGML_CACHE_DIR", str(cache))
    kidney(server, None)
    assert (cache / KIDNEY).is_file()
    kidney(server, tmp_path / "argument")
    assert (tmp_path / "argument" / KIDNEY).is_file()
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("variable", [None, ""])
def test_default_folder(server, content, monkeypatch, variable):
    import pooch

    if variable is not None:
        monkeypatch.setenv("SCGGML_CACHE_DIR", variable)
    kidney(server, None)
    assert (pooch.os_cache("scggml") / KIDNEY).is_file()


def test_home_is_expanded(server, content, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    kidney(server, "~/cohorts")
    assert (tmp_path / "cohorts" / KIDNEY).is_file()


def test_folder_that_cannot_be_written(server, content, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match="could not be written.*Pass a cache_dir") as caught:
        kidney(server, tmp_path / "taken")
    assert str(tmp_path / "taken" / KIDNEY) in str(caught.value)
    assert not server.requests


def test_backed(server, cache, content):
    adata = kidney(server, cache, backed=True)
    assert adata.isbacked and adata.filename == cache / KIDNEY
    in_memory = adata.to_memory()
    adata.file.close()
    assert (in_memory.X != kidney(server, cache).X).nnz == 0
    assert (cache / KIDNEY).read_bytes() == content


def test_progress(server, cache, content, capsys):
    kidney(server, cache)
    assert "%" not in capsys.readouterr().err
    (cache / KIDNEY).unlink()
    kidney(server, cache, progress=True)
    assert "100%" in capsys.readouterr().err


def test_file_beyond_memory(server, cache, content, monkeypatch):
    def no_memory(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(ad, "read_h5ad", no_memory)
    with pytest.raises(MemoryError, match="Pass backed=True"):
        kidney(server, cache)
    assert (cache / KIDNEY).is_file()


@pytest.mark.parametrize("base_url", ["ftp://somewhere", "datasets.cellxgene.cziscience.com", "", None])
def test_malformed_address(cache, base_url):
    with pytest.raises(ValueError, match="base_url must begin with 'http://' or 'https://', found"):
        kidney(base_url, cache)


def test_cache_folder_of_another_type():
    with pytest.raises(TypeError, match="cache_dir must be a path, found 3"):
        sg.datasets.kidney_cohort(cache_dir=3)


def test_without_pooch(server, cache, content, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pooch", None)
        with pytest.raises(ImportError, match=r'pip install "scggml\[datasets\]"'):
            kidney(server, cache)
    kidney(server, cache)
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert kidney(server, cache).n_obs == 12  # what is there needs no download


def test_two_downloads_at_once(server, cache, content):
    loaded = []
    threads = [threading.Thread(target=lambda: loaded.append(kidney(server, cache))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [adata.n_obs for adata in loaded] == [12] * 4
    assert [path.name for path in cache.iterdir()] == [KIDNEY]


def test_a_killed_download_leaves_nothing_for_ever(server, cache, content):
    """Its folder is removed by a later download, but not that of another process which is still writing."""
    for name, age in (("killed", 7200), ("going_on", 10)):
        folder = cache / f"{KIDNEY}.{name}.download"
        folder.mkdir(parents=True)
        (folder / KIDNEY).write_bytes(content[:100])
        for path in (folder / KIDNEY, folder):
            os.utime(path, (time.time() - age,) * 2)
    kidney(server, cache)
    assert sorted(path.name for path in cache.iterdir()) == [KIDNEY, f"{KIDNEY}.going_on.download"]


KILLED = """
import sys
from scggml.datasets._download import load_cohort
load_cohort(sys.argv[1], sample_key="donor_id", label_key="disease", cache_dir=sys.argv[2], backed=False,
            base_url=sys.argv[3], progress=False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_while_downloading(server, cache, content, monkeypatch):
    server.files[KIDNEY] = content + bytes(50_000_000)  # longer than what fits between server and client
    arguments = [KIDNEY.removesuffix(".h5ad"), str(cache), server.url]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments])
    deadline = time.monotonic() + 120
    while not list(cache.glob("*.download/*")) and process.poll() is None:
        assert time.monotonic() < deadline, "no download began"
        time.sleep(0.001)
    process.kill()
    process.wait()
    (left,) = cache.iterdir()
    assert left.name.endswith(".download")
    server.files[KIDNEY] = content
    monkeypatch.setattr("scggml.datasets._download._ABANDONED", -1.0)
    assert kidney(server, cache).n_obs == 12
    assert [path.name for path in cache.iterdir()] == [KIDNEY]
