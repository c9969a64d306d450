"""The page of a comparison: verdicts, all sets in the figure, settings that differ; and how a browser shows it."""

import html
import re
from pathlib import Path

import pytest

from hnmine import run
from hnmine.commands.compare.compare import compare
from hnmine.commands.compare.page import compare_page
from hnmine.commands.compare.verdict import NOTE
from hnmine.pipeline.run import RunOptions
from tests.stages.report.html.browser import find_browser, page_fits
from tests.stages.report.html.test_page import Outline, several_positives
from tests.support import config_for, write_jsonl

in_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed (apt-get install chromium)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three runs on one collection, and a plain file of negatives."""
    folder = several_positives(tmp_path_factory.mktemp("compared"))
    retrieve = {"top_k": 20}
    run(config_for(folder, "auto", filter={"rule": "auto"}, retrieve=retrieve))
    for name, rule in (("none", "none"), ("strict", ["percent", "two_sided"])):
        run(config_for(folder, name, filter={"rule": rule}, retrieve=retrieve), options=RunOptions(folder / "auto"))
    queries = [("q1", (folder / "queries.jsonl").read_text().splitlines()[1])]
    text = re.findall(r'"text": "(.*?)"', queries[0][1])[0]
    write_jsonl(folder / "plain.jsonl", [{"anchor": text, "positive": "p", "negative": "long " * 200 + "x" * 300}])
    return folder


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    given = [str(folder / name) for name in ("auto", "none", "strict", "plain.jsonl")]
    (folder / "page.html").write_text(compare_page(compare(given)), encoding="utf-8")
    return folder / "page.html"


def test_the_page_has_verdicts_settings_and_every_set_in_the_figure(folder: Path, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    outline = Outline(text)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(outline.ids)
    found = compare([str(folder / name) for name in ("auto", "none", "strict")])
    first = html.unescape(text.split("<main>")[0])
    for pair in found["comparisons"]:
        assert pair["verdict"]["line"] in first
    assert NOTE.replace("`", "") in re.sub("<.*?>", "", first)
    figure = text.split('id="tradeoff"')[1].split("</svg>")[0]
    assert {"A", "B", "C"} <= set(re.findall(r">([A-C])</text>", figure))
    assert "D" not in re.findall(r">(\w)</text>", figure)
    table = text.split('<h2 id="false-negatives">')[1].split("<h2")[0]
    for one in found["sets"]:
        assert f"<td>{one['hidden_positives']['rate']:.1%}</td>" in table
    assert "a plain file: not measured" in table
    settings = text.split('<h2 id="settings">')[1].split("<h2")[0]
    rows = dict(re.findall(r"<tr><td><code>(.*?)</code></td>(.*?)</tr>", settings))
    assert re.findall("<td>(.*?)</td>", html.unescape(rows["filter.rule"])) == [
        "auto", "none", '["percent", "two_sided"]', "-",
    ]  # fmt: skip


def test_runs_with_the_same_settings_say_so(folder: Path) -> None:
    page = compare_page(compare([str(folder / "auto"), str(folder / "auto")]))
    assert "Nothing: the runs have the same settings, files and models." in page
    assert "A and B have the same negatives in the queries of both." in page


@pytest.mark.browser
@in_browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_the_window_in_both_schemes(path: Path, width: int, dark: bool) -> None:
    page_fits(path, width, dark)
