"""The page in a real browser without a network: figures are drawn, nothing is reported, and it prints."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest

import scggml as sg

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

HOSTILE = "</script><script>document.title = 'broken out'</script><b>x</b>"
# what a reader does, in place of our last script: presses a name in the legend, and points at a patient
ACTIONS = """
    window.addEventListener("load", function () {
      const figure = document.querySelector("#figure-map"), plot = figure.querySelector(".plot");
      const count = () => plot.querySelectorAll(".scatterlayer .points path").length;
      const button = figure.querySelector("button[data-traces]"), counts = [count()];
      button.click();
      counts.push(count());
      button.click();
      counts.push(count());
      Plotly.Fx.hover(plot, [{ curveNumber: 0, pointNumber: 0 }]);
      const said = document.createElement("p");
      said.id = "said";
      said.textContent = counts.join(" ") + " | " + plot.querySelector(".hoverlayer").textContent;
      document.body.append(said);
    });
"""


@pytest.fixture(scope="module")
def page(everything, tmp_path_factory):
    cells, pdata, mapped = (data.copy() for data in everything)
    for data in (pdata, mapped):
        data.obs["label"] = data.obs["label"].cat.rename_categories({"sick": f"sick {HOSTILE}"})
    path = tmp_path_factory.mktemp("browser") / "report.html"
    sg.report(cells, pdata, path, mapped=mapped)
    return path


def browse(folder, *options):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=20000"]
    flags += [f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--v=0"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files"]
    done = subprocess.run([CHROMIUM, *flags, *options], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_figures_are_drawn_without_a_word(page, tmp_path):
    shown, said = browse(tmp_path, "--dump-dom", page.as_uri())
    assert not said
    assert shown.count('class="main-svg"') >= 3 * 2  # two layers of each of three figures
    assert "<title>8 patients compared by their cells</title>" in shown and "broken out" in shown
    texts = re.findall(r"<span class=\"swatch\"[^>]*></span>([^\n]*) <span", shown)
    assert any("&lt;/script&gt;" in text for text in texts)


def test_legend_and_hover(page, tmp_path):
    """The policy of the page admits its own scripts only, so the test removes it."""
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    (tmp_path / "acted.html").write_text(
        source.replace("</body>", f"<script>{ACTIONS}</script></body>"), encoding="utf-8"
    )
    shown, said = browse(tmp_path, "--dump-dom", (tmp_path / "acted.html").as_uri())
    assert not said
    counts, hover = re.search(r'<p id="said">(.*?) \| (.*?)</p>', shown).groups()
    assert counts == "8 4 8"
    assert re.fullmatch(r"p\d(well|sick.*)", hover), hover


def test_scripts_of_others_do_not_run(page, tmp_path):
    source = page.read_text(encoding="utf-8").replace("</body>", f"<script>{ACTIONS}</script></body>")
    (tmp_path / "foreign.html").write_text(source, encoding="utf-8")
    shown, said = browse(tmp_path, "--dump-dom", (tmp_path / "foreign.html").as_uri())
    assert '<p id="said">' not in shown and said and "Content Security Policy" in said[0]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(page, tmp_path, width):
    """Headless windows have a least width, so the page is shown in a frame."""
    measure = """<p id=said></p><script>
        window.addEventListener("load", () => setTimeout(() => {
          const inner = document.querySelector("iframe").contentDocument;
          const out = [...inner.querySelectorAll("body *")].filter((one) =>
            !one.closest(".scroll, .plot") && one.getBoundingClientRect().right > innerWidthOf(inner) + 1);
          document.querySelector("#said").textContent =
            inner.documentElement.scrollWidth + " " + out.map((one) => one.tagName + one.className).join(",") + ".";
        }, 3000));
        const innerWidthOf = (inner) => inner.documentElement.clientWidth;
    </script>"""
    frame = (
        f'<body style="margin:0"><iframe src="{page.as_uri()}" style="width:{width}px;height:900px;border:0"></iframe>'
    )
    (tmp_path / "frame.html").write_text(frame + measure, encoding="utf-8")
    shown, said = browse(tmp_path, "--window-size=1400,1000", "--dump-dom", (tmp_path / "frame.html").as_uri())
    assert not said
    found = re.search(r'<p id="said">(\d+) (.*?)\.</p>', shown)
    assert found and int(found.group(1)) <= width and found.group(2) == "", found.groups()


def test_prints(page, tmp_path):
    _, said = browse(tmp_path, f"--print-to-pdf={tmp_path / 'report.pdf'}", page.as_uri())
    pdf = (tmp_path / "report.pdf").read_bytes()
    assert not said and pdf.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 3


def test_dark_mode(page, tmp_path):
    from matplotlib.image import imread

    means = []
    for scheme in (1, 0):
        options = [f"--blink-settings=preferredColorScheme={scheme}", "--window-size=800,1200"]
        browse(tmp_path, *options, f"--screenshot={tmp_path / 'shot.png'}", page.as_uri())
        means.append(float(np.median(imread(tmp_path / "shot.png")[..., :3])))
    assert means[0] > 0.9 and means[1] < 0.2
