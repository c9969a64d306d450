"""The page: what is on it, that nothing leaves it, that texts stay texts, and that its bytes are the report's."""

import copy
import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hnmine.cli.run_stages import draw_report
from hnmine.commands.probe.probe import Options, probe
from hnmine.config.file import load_config
from hnmine.config.filter import FilterConfig
from hnmine.errors import OutputError
from hnmine.pipeline.run import RunOptions, run
from hnmine.stages.report.examples import EACH, LONGEST, REJECTED_OF_ROW, Texts, cut
from hnmine.stages.report.headline import NUMBERS
from hnmine.stages.report.html.page import marked, percent, render, rule_text
from hnmine.stages.report.html.plots import PLOTS, funnel_rows, margins
from hnmine.stages.report.html.svg import resize
from tests.pipeline.helpers import rows
from tests.support import WORDS, config_for, make_collection, tree, with_page, without_run_line, write_collection

EVIL = '<script>alert(1)</script> & "quoted" <img src=x onerror=alert(2)>'
EMPTY = Texts({}, {}, {})


class Outline(HTMLParser):
    """Elements that are open when a page ends, all tags, ids and attributes."""

    VOID = frozenset({"meta", "link", "input", "br", "img", "wbr"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.attributes = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page(out):
    return (out / "report" / "report.html").read_text(encoding="utf-8")


def numbers(out):
    return json.loads((out / "report" / "report.json").read_text(encoding="utf-8"))


def several_positives(folder, queries=80):
    """Write a collection that is enough to measure a false-negative rate on: two near positives a query."""
    corpus, asked, qrels = {}, {}, []
    for i in range(queries):
        topic = [WORDS[(i * step) % len(WORDS)] for step in (1, 7, 11)]
        asked[f"q{i}"] = " ".join([*topic, f"n{i}"])
        for copy_number in range(2):
            corpus[f"d{i}-{copy_number}"] = " ".join([*topic, f"n{i}", WORDS[(i + copy_number) % len(WORDS)], "text"])
            qrels.append((f"q{i}", f"d{i}-{copy_number}", 1))
        corpus[f"x{i}"] = " ".join([*topic[:2], WORDS[(3 * i + 5) % len(WORDS)], f"m{i}"])
    return write_collection(folder, corpus, asked, qrels)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = several_positives(tmp_path_factory.mktemp("measured"))
    run(with_page(folder, filter={"rule": "auto"}, emit={"choose": "top", "num_negatives": 3}, retrieve={"top_k": 20}))
    return folder / "out"


def test_the_page_has_every_number_figure_and_section(measured):
    text, found = page(measured), numbers(measured)
    outline = Outline(text)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert set(PLOTS) <= set(outline.ids)
    assert {"verdict", "numbers", "false-negatives", "verdicts", "biases", "documents", "examples"} <= set(outline.ids)
    assert outline.tags.count("svg") == len(PLOTS)
    for number in NUMBERS:
        assert f'data-number="{number.name}"' in text
        assert number.name == "false_negative_rate" or f"{found[number.name]:.3f}" in text
    assert found["conclusion"]["line"] in text
    assert "report.html" not in found


def test_the_page_names_no_address_and_loads_nothing(measured):
    text = page(measured)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    assert set(re.findall(r'\bsrc="|<(?:iframe|object|embed|img)\b', text)) == set()
    assert set(re.findall(r'<link[^>]*href="([^"]*)"', text)) == {"data:,"}
    assert len(text.encode()) < 5_000_000


def test_references_inside_figures_lead_to_something(measured):
    text = page(measured)
    ids = set(Outline(text).ids)
    wanted = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert wanted
    assert wanted <= ids


def test_figures_have_no_colours_of_their_own(measured):
    for figure in re.findall(r"<svg.*?</svg>", page(measured), re.DOTALL):
        assert set(re.findall(r"#[0-9a-f]{6}\b", figure)) <= {"#000000"}
        assert "var(--ink)" in figure


def test_the_tradeoff_marks_the_runs_own_setting_with_its_own_rate(measured):
    found = numbers(measured)
    own = [row for row in found["tradeoff"]["settings"] if row["own"]]
    assert len(own) == 1
    assert own[0]["rate"] == found["false_negative_rate"]
    assert own[0]["settings"] == {"rule": "auto"}
    rates = {row["settings"]["rule"]: row["rate"] for row in found["tradeoff"]["settings"] if len(row["settings"]) == 1}
    assert rates["none"] == max(row["rate"] for row in found["tradeoff"]["settings"])
    assert rates["none"] > own[0]["rate"]
    rows = found["tradeoff"]["settings"]
    points = [(row["rate"], -row["hardness"], -row["fill"]) for row in rows]
    for own, row in zip(points, rows, strict=True):
        beaten = any(all(a <= b for a, b in zip(p, own, strict=True)) and p != own for p in points)
        assert row["front"] is not beaten


def test_two_runs_and_other_shards_write_the_same_page(measured, tmp_path):
    folder = several_positives(tmp_path)
    run(
        with_page(
            folder,
            "again",
            filter={"rule": "auto"},
            emit={"choose": "top", "num_negatives": 3},
            retrieve={"top_k": 20},
            shard_rows=256,
            workers=2,
        )
    )
    assert without_run_line(page(folder / "again")) == without_run_line(page(measured))
    assert numbers(folder / "again") | {"timings": 0} == numbers(measured) | {"timings": 0}


def test_the_page_is_a_function_of_the_report_and_the_texts(measured):
    found = numbers(measured)
    config = config_for(measured.parent)
    again = render(copy.deepcopy(found) | {"timings": {"embed": 99}}, EMPTY, config, {})
    assert render(found, EMPTY, config, {}) == again


def test_texts_and_ids_from_the_data_never_become_markup(tmp_path):
    corpus = {f"<b>d{i}</b>": f"{EVIL} document {WORDS[i % 30]} {i}" for i in range(40)}
    queries = {f"<i>q{i}</i>": f"{EVIL} question {WORDS[i % 30]} {i}" for i in range(10)}
    write_collection(tmp_path, corpus, queries, [(f"<i>q{i}</i>", f"<b>d{i}</b>", 1) for i in range(10)])
    run(with_page(tmp_path, filter={"rule": "none"}))
    text = page(tmp_path / "out")
    outline = Outline(text)
    assert outline.open == []
    assert outline.tags.count("script") == 1
    assert "img" not in outline.tags
    assert "<b>d" not in text
    assert "<i>q" not in text
    assert "onerror" not in outline.attributes
    assert "&lt;script&gt;alert(" in re.sub(r"</?mark>", "", text)


def test_a_page_without_a_measurable_rate_says_so(tmp_path):
    make_collection(tmp_path)
    run(with_page(tmp_path))
    text, found = page(tmp_path / "out"), numbers(tmp_path / "out")
    assert found["false_negative_rate"] is None
    assert found["tradeoff"]["settings"] == []
    assert 'id="unmeasured"' in text
    assert 'id="tradeoff"' not in text
    assert "could not be measured" in text
    assert "not measured" in text


def test_a_page_without_any_negative_says_not_to_train(tmp_path):
    make_collection(tmp_path)
    run(with_page(tmp_path, filter={"rule": "absolute", "min_score": 50.0}))
    text, found = page(tmp_path / "out"), numbers(tmp_path / "out")
    assert found["coverage"] == 0
    assert found["conclusion"]["level"] == "do_not_train"
    assert "Do not train" in text
    assert found["hardness_by_place"] == []
    assert found["histograms"]["eci"]["edges"][-1] > np.log1p(3)
    assert 'class="number plain" data-number="hardness"' in text
    assert found["biases"]["length"]["negative"] is None
    assert found["examples"]["lowest_eci"] == []
    assert found["examples"]["suspicious"] == []
    assert len(found["examples"]["missing"]) == EACH
    assert Outline(text).open == []


def test_a_page_of_one_query_and_one_document(tmp_path):
    write_collection(tmp_path, {"d": "a text"}, {"q": "a question"}, [("q", "d", 1)])
    run(with_page(tmp_path, "alone"))
    assert numbers(tmp_path / "alone")["conclusion"]["level"] == "do_not_train"
    assert Outline(page(tmp_path / "alone")).open == []
    write_collection(tmp_path, {f"d{i}": f"text {i}" for i in range(6)}, {"q": "text 0"}, [("q", "d0", 1)])
    run(with_page(tmp_path, "one", filter={"rule": "none", "max_query_similarity": None}))
    found = numbers(tmp_path / "one")
    assert found["coverage"] == 1
    assert [row["negatives"] for row in found["hardness_by_place"]] == [1, 1, 1]
    assert Outline(page(tmp_path / "one")).open == []


def test_the_page_stays_small_whatever_the_texts(tmp_path):
    words = [f"<{WORDS[i]}>&" for i in range(30)]
    corpus = {f"d{i}" + "&" * 3000: " ".join(words[i % 7 :] * 200) + f" {i}" for i in range(90)}
    queries = {f"q{i}" + "<" * 3000: " ".join(words * 100) + f" {i}" for i in range(60)}
    names = list(corpus)
    write_collection(tmp_path, corpus, queries, [(q, names[i], 1) for i, q in enumerate(queries)])
    run(with_page(tmp_path, filter={"rule": "none", "max_positive_similarity": None, "max_query_similarity": None}))
    assert len(page(tmp_path / "out").encode()) < 5_000_000


def test_the_bytes_on_disk_are_those_of_the_same_run_after_overwrite(tmp_path):
    make_collection(tmp_path)
    run(with_page(tmp_path))
    before = tree(tmp_path / "out")
    (tmp_path / "out" / "report" / "_manifest.json").unlink()
    run(with_page(tmp_path), ["report"], RunOptions(overwrite=True))
    assert tree(tmp_path / "out") == before


def test_words_shared_with_the_query_are_marked_and_nothing_else():
    assert str(marked("Heat pumps & heat", {"heat"})) == "<mark>Heat</mark> pumps &amp; <mark>heat</mark>"
    assert str(marked("<script>", {"script"})) == "&lt;<mark>script</mark>&gt;"
    assert str(marked("", {"x"})) == ""


def test_texts_are_cut():
    assert cut("a  b\nc") == "a b c"
    assert cut("x" * LONGEST) == "x" * LONGEST
    assert cut("x" * (LONGEST + 1)) == "x" * (LONGEST - 1) + "…"
    assert len(cut("word " * 10_000)) == LONGEST


def test_the_funnel_ends_in_what_was_kept_chosen_and_wanted(measured):
    found = numbers(measured)
    rows = funnel_rows(found)
    emitted = found["counts"]["emit"]
    assert rows[0][1] == sum(found["verdicts"].values())
    assert [count for _, count, _ in rows[-3:]] == [
        found["verdicts"]["keep"], emitted["negatives"], emitted["negatives_wanted"],
    ]  # fmt: skip
    lefts = [count for _, count, _ in rows[:-2]]
    assert lefts == sorted(lefts, reverse=True)


def test_histograms_count_everything_once(measured):
    found = numbers(measured)
    scores, verdicts = found["histograms"]["score"], found["verdicts"]
    assert sum(scores["kept"]) == verdicts["keep"]
    assert sum(scores["rejected"]) == sum(verdicts.values()) - verdicts["keep"] - verdicts["positive"]
    assert sum(scores["positive"]) == found["distributions"]["positive_score"]["count"]
    assert sum(scores["chosen"]) == sum(found["histograms"]["margin"]["chosen"]) == found["counts"]["emit"]["negatives"]
    assert sum(found["histograms"]["eci"]["queries"]) == found["counts"]["ingest"]["queries"]
    for name in ("length", "query_overlap"):
        histogram = found["biases"][name]["histogram"]
        assert sum(histogram["positive"]) == found["distributions"]["positive_score"]["count"]
        assert sum(histogram["negative"]) == found["counts"]["emit"]["negatives"]
    eci = found["histograms"]["eci"]
    assert eci["edges"][0] == 0
    assert np.log1p(3) <= eci["edges"][-1] < np.log1p(3) + 0.2
    assert np.isclose(sum(one["share"] for one in found["sources"].values()), 1)
    assert sum(row["documents"] for row in found["hubs"]["served"]) == found["hubs"]["documents"]


def test_the_terminal_names_the_page_only_where_there_is_one(tmp_path, capsys):
    make_collection(tmp_path)
    for make, named in ((config_for, False), (with_page, True)):
        run(make(tmp_path, make.__name__))
        path = tmp_path / make.__name__ / "report" / "report.json"
        draw_report(json.loads(path.read_text()), path)
        said = "".join(capsys.readouterr())
        assert str(path) in said
        assert ("report.html" in said) is named


def test_the_first_lines_name_run_config_teacher_rule_n_and_time(tmp_path, monkeypatch):
    make_collection(tmp_path)
    (tmp_path / "mine.toml").write_text(
        'out = "runs/one"\n[input]\ncorpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = "qrels.tsv"\n'
        '[embed]\nmodel = "hash"\n[filter]\nrule = "percent"\nanchor = "min"\n[emit]\nnum_negatives = 4\n'
    )
    monkeypatch.chdir(tmp_path)
    run(load_config("mine.toml"))
    first = page(tmp_path / "runs" / "one").split("<main>")[0]
    facts = dict(re.findall(r"<dt>(.*?)</dt> <dd>(.*?)</dd>", first))
    assert facts["run"] == "runs/one"
    assert facts["config"] == "mine.toml"
    assert facts["teacher"] == "hash"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", facts["made"])
    assert html.unescape(facts["rule"]) == 'percent 0.95; anchor = "min"'
    assert facts["negatives"] == "n = 4, choose = top, format = triplet"
    found = numbers(tmp_path / "runs" / "one")
    assert f"{percent(found['negatives_at_or_above_positive'])} of the negatives score at or above" in first
    assert found["conclusion"]["line"] in html.unescape(first)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "auto (percent 0.95 + calibrated)"),
        ({"rule": "none"}, "none"),
        ({"rule": ["percent", "two_sided"], "percent": 0.8}, "percent 0.8 + two_sided 0.5"),
        ({"rule": "absolute", "min_score": 0.2}, "absolute; min_score = 0.2"),
        ({"rule": "calibrated", "max_false_negative_rate": 0.05}, "calibrated; max_false_negative_rate = 0.05"),
    ],
)
def test_a_rule_is_named_with_its_settings(settings, text):
    assert rule_text(FilterConfig(**settings)) == text


def test_random_rows_come_first_with_what_was_rejected(measured):
    found, text = numbers(measured)["examples"], page(measured)
    assert re.findall(r'data-kind="(\w+)"', text)[0] == "random"
    assert len(found["random"]) == EACH
    assert any(one["rejected"] for one in found["random"])
    judged = {row["query_id"]: row for row in rows(measured / "filter")}
    ids = [row["doc_id"] for row in rows(measured / "ingest" / "corpus")]
    for one in found["random"]:
        row = judged[one["query_id"]]
        scores = {ids[doc]: score for doc, score in zip(row["doc_rows"], row["scores"], strict=True)}
        verdicts = [dict(zip((ids[doc] for doc in row["doc_rows"]), own, strict=True)) for own in row["verdicts"]]
        assert any(
            all(own[d["doc_id"]] == "keep" for d in one["negatives"])
            and sorted(
                (s for name, s in scores.items() if own[name] not in ("keep", "positive")), reverse=True
            )[:REJECTED_OF_ROW] == [d["score"] for d in one["rejected"]]
            and all(own[d["doc_id"]] == d["verdict"] for d in one["rejected"])
            for own in verdicts
        )  # fmt: skip
        assert all(scores[d["doc_id"]] == pytest.approx(d["score"]) for d in one["negatives"])
        assert all(d["score"] is not None for d in one["positives"])


def test_the_busiest_documents_are_shown_with_their_texts(measured):
    texts = {row["doc_id"]: row["text"] for row in rows(measured / "ingest" / "corpus")}
    hubs = numbers(measured)["hubs"]["top"]
    section = page(measured).split("The busiest documents")[1].split("</table>")[0]
    assert hubs
    for hub in hubs:
        assert f"<small>{hub['doc_id']}</small>{texts[hub['doc_id']]}" in section


def test_batches_have_a_section_where_there_are_batches(measured, tmp_path):
    assert 'id="batches"' not in page(measured)
    assert 'href="#batches"' not in page(measured)
    folder = several_positives(tmp_path)
    run(with_page(folder, emit={"num_negatives": 2, "batch_size": 8, "format": "n-tuple"}))
    found, text = numbers(folder / "out")["batches"], page(folder / "out")
    assert 'href="#batches"' in text
    section = text.split('<h2 id="batches">')[1].split("<h2")[0]
    assert f"<td>full</td><td>{found['full']} " in section
    assert percent(found["examples"] / (8 * found["count"])) in section


def test_a_page_shows_the_probe_of_its_negatives_whichever_is_first(tmp_path):
    folder = several_positives(tmp_path)
    config = with_page(folder)
    run(config)
    before = page(folder / "out")
    assert "Not measured. <code>hnmine probe</code>" in before
    result = probe(config, options=Options(seeds=1))
    after = page(folder / "out")
    assert "Not measured. <code>hnmine probe</code>" not in after
    section = after.split('<section id="probe">')[1].split("</section>")[0]
    for name, text in (
        ("mined", "the negatives of this run"),
        ("in_batch", "no mined negatives"),
        ("random", "random documents, equal number"),
    ):
        one = result["sets"][name]
        shown = f"<td>{one['examples']:,}</td><td>{one['negatives']:,}</td><td>{one['ndcg_at_10']:.3f}</td>"
        assert f"<td>{html.escape(text)}</td>{shown}" in section
    for one in result["gains"]:
        low, high = (f"{bound:+.3f}" for bound in one["interval"])
        assert f"<td>{one['ndcg_at_10']:+.3f}</td><td>{low} to {high}</td><td>{one['p']:.3f}</td>" in section
    assert before.split('<section id="probe">')[0] == after.split('<section id="probe">')[0]
    (folder / "out" / "report" / "_manifest.json").unlink()
    run(config, ["report"], RunOptions(overwrite=True))
    assert without_run_line(page(folder / "out")) == without_run_line(after)
    run(with_page(folder, filter={"percent": 0.7}), options=RunOptions(overwrite=True))
    assert "Not measured. <code>hnmine probe</code>" in page(folder / "out")


def test_a_probe_that_cannot_be_kept_is_an_answer_all_the_same(tmp_path, monkeypatch):
    folder = several_positives(tmp_path)
    run(with_page(folder))
    before = page(folder / "out")

    def refused(*_):
        raise OutputError("probe.json: cannot be written: read-only file system")

    monkeypatch.setattr("hnmine.stages.report.probe_result.write_json", refused)
    found = probe(with_page(folder), options=Options(seeds=1))
    assert found["not_kept"] == "probe.json: cannot be written: read-only file system"
    assert found["sets"]["mined"]
    assert page(folder / "out") == before


@pytest.mark.parametrize("low", [0.0, -0.02, -0.5])
def test_the_label_of_the_margins_lies_inside_the_figure(low):
    edges = np.linspace(low, 0.5, 41)
    shares = {"edges": edges.tolist(), "chosen": [0, *range(1, 40)]}
    figure = Figure(figsize=(5, 220 / 72))
    axes = figure.add_subplot()
    resize(axes)
    assert margins(axes, {"histograms": {"margin": shares}})
    FigureCanvasAgg(figure).draw()
    label = next(one for one in axes.texts if "above" in one.get_text())
    box, inside = label.get_window_extent(), axes.get_window_extent()
    assert inside.x0 <= box.x0
    assert box.x1 <= inside.x1
