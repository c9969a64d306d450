"""The page in a real browser: nothing is asked for, nothing fails, figures show, and the search finds."""

import struct

import pytest

from hnmine.pipeline.run import run
from hnmine.stages.report.html.plots import PLOTS
from tests.stages.report.html.browser import CONTRAST, Browser, find_browser
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
    run(with_page(folder, filter={"rule": "auto"}, retrieve={"top_k": 20}, emit={"order": "easy_to_hard"}))
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


SHOWN = "[...document.querySelectorAll(%r)].filter((node) => node.offsetHeight > 0)"
SET = "(() => { const i = document.querySelector(%r); i.value = %r; i.dispatchEvent(new Event('input')); })()"
VERDICTS, SOURCES = "select[name=verdict]", "select[name=source]"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_first_screen_says_which_run_it_is_and_the_verdict(browser, path, width, dark):
    browser.open(path, width, dark)
    assert browser.run("document.documentElement.scrollWidth") == width
    shown = browser.run(
        "[...document.querySelectorAll('header dd, #verdict, #verdict strong')]"
        ".filter((node) => node.offsetHeight > 0 && node.getBoundingClientRect().top < innerHeight)"
        ".map((node) => node.textContent).join(' | ')"
    )
    for part in (
        "out |",
        "hash |",
        "UTC |",
        "auto (percent 0.95 + calibrated)",
        "n = 3,",
        "at or above their positive",
    ):
        assert part in shown, part


@pytest.mark.parametrize("width", [390, 1280])
def test_the_table_of_contents_stays_and_leads_to_every_section(browser, path, width):
    browser.open(path, width)
    links = browser.run("[...document.querySelectorAll('nav a')].map((link) => link.hash)")
    assert len(links) > 8
    for link in links:
        browser.run(f"document.querySelector('nav a[href=\"{link}\"]').click()")
        section = browser.run(f"document.querySelector({link!r}).getBoundingClientRect().top")
        bar = browser.run("(b => [b.top, b.bottom])(document.querySelector('nav').getBoundingClientRect())")
        assert section < 900, link
        if link != "#verdict":  # above the bar
            assert bar[0] == 0, link
            assert section >= bar[1] - 1, link
    browser.run("document.querySelector('nav a').focus()")
    for _ in links[1:]:
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.run("document.activeElement.hash") == links[-1]
    place = "(b => [b.left, b.right])(document.activeElement.getBoundingClientRect())"
    assert any(0 <= left < right <= width for left, right in (browser.run(place) for _ in range(500)))


def test_filters_show_documents_of_a_verdict_a_source_and_a_score(browser, path):
    browser.open(path)
    every = browser.run(VISIBLE)
    verdicts = browser.run(f"[...document.querySelectorAll('{VERDICTS} option')].map((one) => one.value)")
    assert verdicts[:1] == [""]
    assert "chosen" in verdicts
    assert len(verdicts) > 2
    for verdict in verdicts[1:]:
        browser.run(SET % (VERDICTS, verdict))
        seen = browser.run(SHOWN % "[data-verdict]" + ".map((node) => node.dataset.verdict)")
        assert set(seen) == {verdict}
        assert 0 < browser.run(VISIBLE) <= every
        assert browser.run(f"{SHOWN % '.example'}.every((node) => node.querySelector('.doc:not([hidden])'))")
    browser.run(SET % (VERDICTS, ""))
    browser.run(SET % (SOURCES, "retrieved"))
    assert set(browser.run(SHOWN % "[data-verdict]" + ".map((node) => node.dataset.source)")) == {"retrieved"}
    scores = sorted(browser.run(SHOWN % "[data-score]" + ".map((node) => Number(node.dataset.score))"))
    low, high = scores[len(scores) // 4], scores[-len(scores) // 4]
    browser.run(SET % ("input[name=low]", str(low)))
    browser.run(SET % ("input[name=high]", str(high)))
    seen = browser.run(SHOWN % "[data-score]" + ".map((node) => Number(node.dataset.score))")
    assert sorted(seen) == [score for score in scores if low <= score <= high]
    assert 0 < len(seen) < len(scores)
    browser.run("document.querySelector('.search button').click()")
    assert browser.run(VISIBLE) == every


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_texts_have_enough_contrast(browser, path, dark):
    browser.open(path, 1280, dark)
    worst = browser.run(CONTRAST)
    assert worst["ratio"] >= 4.5, worst
