"""The page in a real browser: nothing is asked for, nothing fails, figures show, and the search finds."""

import struct

import pytest

from hnmine.pipeline.run import run
from hnmine.stages.report.html.plots import PLOTS
from tests.stages.report.html.browser import Browser, find_browser
from tests.stages.report.html.test_page import several_positives
from tests.support import with_page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed (apt-get install chromium)"),
]
BOX = "(b => [b.x, b.y, b.width, b.height])(document.getElementById('%s').getBoundingClientRect())"
VISIBLE = "[...document.querySelectorAll('.example')].filter((node) => node.offsetHeight > 0).length"
SEARCH = "(() => { const i = document.querySelector('input'); i.value = %r; i.dispatchEvent(new Event('input')); })()"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = several_positives(tmp_path_factory.mktemp("browser"))
    run(with_page(folder, filter={"rule": "auto"}, retrieve={"top_k": 20}))
    return folder / "out" / "report" / "report.html"


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_opens_from_disk_without_a_request_or_a_complaint(browser, path, tmp_path, width, dark):
    browser.open(path, width, dark)
    assert browser.requests() == [path.as_uri()]
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    for name in PLOTS:
        wide, high = browser.run(f"{BOX % name}.slice(2)")
        assert wide > 250, name
        assert high > 80, name
        assert browser.run(f"document.querySelectorAll('#{name} text').length") > 3, name
    shot = browser.screenshot(tmp_path / "shot.png").read_bytes()
    assert shot[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", shot[16:20])[0] == width


def test_figures_follow_the_colour_scheme(browser, path):
    seen = []
    for dark in (False, True):
        browser.open(path, 1200, dark)
        paper = browser.run("getComputedStyle(document.body).backgroundColor")
        seen.append((paper, browser.run("getComputedStyle(document.querySelector('#scores text')).fill")))
    (light_paper, light_ink), (dark_paper, dark_ink) = seen
    assert light_paper != dark_paper
    assert light_ink != dark_ink
    assert sum(map(int, light_ink[4:-1].split(","))) < 200 < 500 < sum(map(int, dark_ink[4:-1].split(",")))


def test_the_search_shows_what_holds_every_word(browser, path):
    browser.open(path)
    every = browser.run(VISIBLE)
    assert every > 10
    name = browser.run("document.querySelector('.example .query').textContent.split(' ').pop()")
    browser.run(SEARCH % f"TEXT {name}")
    some = browser.run(VISIBLE)
    assert 0 < some < every
    assert browser.run("document.querySelector('output').textContent") == f"{some} of {every} examples"
    browser.run(SEARCH % "nowhere-to-be-found")
    assert browser.run(VISIBLE) == 0
    browser.run(SEARCH % "")
    assert browser.run(VISIBLE) == every


def test_without_scripts_everything_but_the_search_is_there(browser, path):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(path)
        tree = browser.call("DOM.getDocument", depth=-1)["root"]
        assert browser.complaints() == []
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)

    def nodes(node):
        yield node
        for below in node.get("children", []):
            yield from nodes(below)

    found = [dict(zip(*[iter(node.get("attributes", []))] * 2, strict=True)) for node in nodes(tree)]
    assert sum("example" in one.get("class", "").split() for one in found) > 10
    assert not any("example" in one.get("class", "").split() and "hidden" in one for one in found)
    assert [one for one in found if one.get("class") == "search"] == [{"class": "search", "hidden": ""}]
