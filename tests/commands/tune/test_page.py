"""The page of a tune: every setting in the table and the figures, the verdict first; and how a browser shows it."""

import html
import json
import re
from pathlib import Path

import pytest

from hnmine.commands.tune.page import tune_page
from hnmine.commands.tune.tune import PAGE, RESULT, Options, tune
from tests.commands.tune.made import Loader, collection, finished
from tests.stages.report.html.browser import find_browser, page_fits
from tests.stages.report.html.test_page import Outline

in_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed (apt-get install chromium)")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = collection(tmp_path_factory.mktemp("page"))
    config = finished(folder)
    tune(config, options=Options(seeds=2), load=Loader())
    return config.out_folder


def test_the_page_has_the_verdict_every_setting_and_both_figures(made: Path) -> None:
    text, result = (made / PAGE).read_text(encoding="utf-8"), json.loads((made / RESULT).read_text())
    outline = Outline(text)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(outline.ids)
    assert {"gain_and_false_negatives", "gain_and_hardness"} <= set(outline.ids)
    first, rest = (html.unescape(part) for part in text.split("<main>"))
    for line in result["verdict"]["lines"]:
        assert line in first
    table = rest.split('<h2 id="settings">')[1]
    for number, row in enumerate(result["settings"], start=1):
        assert f"{number}. {row['name']}" in table
    assert table.count("(chosen)") == 1
    for name in ("gain_and_false_negatives", "gain_and_hardness"):
        figure = text.split(f'id="{name}"')[1].split("</svg>")[0]
        drawn = {
            number
            for number, row in enumerate(result["settings"], start=1)
            if row["hardness"] is not None and (name == "gain_and_hardness" or row["role"] != "in_batch")
        }
        assert {str(number) for number in drawn} <= set(re.findall(r">(\d+)</text>", figure))
        assert "front" in figure


def test_names_are_text_and_a_cut_is_said(made: Path) -> None:
    result = json.loads((made / RESULT).read_text())
    result["settings"][0]["name"] = "<b>bold</b>"
    result |= {"cut": True, "untried": ["percent 0.5 & more"]}
    text = tune_page(result)
    assert "<b>bold" not in text
    assert "Not tried: percent 0.5 &amp; more." in text


@pytest.mark.browser
@in_browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_the_window_in_both_schemes(made: Path, width: int, dark: bool) -> None:
    page_fits(made / PAGE, width, dark)
