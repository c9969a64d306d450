"""Mined sets side by side, against plain loops over what the runs and files hold."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.commands.compare.compare import NO_NUMBERS, compare
from hnmine.commands.compare.page import compare_page
from hnmine.errors import ConfigError, IncompleteStage, InputError
from hnmine.pipeline.run import RunOptions
from tests.pipeline.helpers import report, rows
from tests.support import config_for, make_collection, write_jsonl

EXTRA = ["query_id", "negative_id", "negative_score", "rank"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run `one`, a looser and a stricter one made from it, and one of other queries."""
    folder = make_collection(tmp_path_factory.mktemp("compare"), 80, 40)
    config = {"emit": {"extra_columns": EXTRA, "num_negatives": 3}, "filter": {"percent": 0.7}}
    run(config_for(folder, "one", **config))
    for name, percent in (("loose", 0.9), ("strict", 0.6)):
        run(config_for(folder, name, **config | {"filter": {"percent": percent}}), options=RunOptions(folder / "one"))
    lines = (folder / "queries.jsonl").read_text().splitlines()[20:]
    (folder / "half.jsonl").write_text("\n".join(lines) + "\n")
    half = {"input": {"queries": "half.jsonl", "unknown_ids": "skip"}, "embed": {"query_prompt": "harbor reef "}}
    run(config_for(folder, "half", **config, **half))
    return folder


def names(runs: Path, *parts: str) -> list[str]:
    return [str(runs / part) for part in parts]


def negatives(out: Path) -> dict[tuple[str, str], tuple[float, int]]:
    """Return score and rank of each (query, negative) that a run emitted."""
    return {(r["query_id"], r["negative_id"]): (r["negative_score"], r["rank"]) for r in rows(out / "emit")}


@pytest.mark.parametrize(("base", "other"), [("one", "loose"), ("strict", "one"), ("one", "half"), ("half", "loose")])
def test_overlap_shifts_and_means_are_those_of_plain_loops(runs: Path, base: str, other: str) -> None:
    left, right = negatives(runs / base), negatives(runs / other)
    asked = {f"q{i}" for i in (range(20, 40) if "half" in (base, other) else range(40))}
    left, right = ({k: v for k, v in side.items() if k[0] in asked} for side in (left, right))
    found = compare(names(runs, base, other, "one"))["comparisons"][0]
    both, either = left.keys() & right.keys(), left.keys() | right.keys()
    assert found["matched_by"] == "ids"
    assert found["queries"]["shared"] == len(asked)
    count = found["negatives"]
    assert (count["base"], count["other"], count["shared"]) == (len(left), len(right), len(both))
    assert count["share"] == pytest.approx(len(both) / len(either))
    per_query = [
        len({k for k in both if k[0] == q}) / len({k for k in either if k[0] == q})
        for q in asked
        if any(k[0] == q for k in either)
    ]
    assert count["jaccard"] == pytest.approx(np.mean(per_query))
    assert 0 < len(both) < len(either)
    for place, name in enumerate(("scores", "ranks")):
        moved = [right[k][place] - left[k][place] for k in both]
        assert found["both"]["shifts"][name]["mean"] == pytest.approx(np.mean(moved), abs=1e-6)
        assert found["both"]["shifts"][name]["mean_absolute"] == pytest.approx(np.mean(np.abs(moved)), abs=1e-6)
    for side, own, rest in (("only_base", left, right), ("only_other", right, left)):
        alone = [own[k] for k in own.keys() - rest.keys()]
        assert found[side]["negatives"] == len(alone)
        assert found[side]["mean_rank"] == (pytest.approx(np.mean([r for _, r in alone])) if alone else None)


@pytest.mark.parametrize(("base", "other"), [("loose", "strict"), ("half", "one"), ("one", "half")])
def test_what_became_of_negatives_that_one_has_alone(runs: Path, base: str, other: str) -> None:
    found = compare(names(runs, base, other, "one"))["comparisons"][0]["only_base"]
    source = runs / (other if other == "half" else "one")
    corpus = [r["doc_id"] for r in rows(source / "ingest/corpus")]
    judged = {q["query_id"]: q for q in rows(runs / other / "filter")}
    left, right = negatives(runs / base), negatives(runs / other)
    expected: dict[str, int] = {}
    moved = []
    for query, document in left.keys() - right.keys():
        if query not in judged:
            continue
        own = judged[query]
        documents = [corpus[row] for row in own["doc_rows"]]
        fate = "not retrieved"
        if document in documents:
            at = documents.index(document)
            verdicts = [of_anchor[at] for of_anchor in own["verdicts"]]
            fate = "kept, not chosen" if "keep" in verdicts else f"rejected: {verdicts[0]}"
            moved.append(own["scores"][at] - left[query, document][0])
        expected[fate] = expected.get(fate, 0) + 1
    assert found["fates"] == expected
    assert len(expected) > ("half" in (base, other))
    assert found["shifts"]["scores"]["count"] == len(moved)
    assert found["shifts"]["scores"].get("mean", 0) == pytest.approx(np.mean(moved) if moved else 0, abs=1e-6)


def test_numbers_are_the_reports_and_their_differences_are_paired(runs: Path) -> None:
    found = compare(names(runs, "one", "loose", "half"))
    for name in ("one", "loose", "half"):
        own = next(one for one in found["sets"] if one["name"] == str(runs / name))
        assert own["numbers"]["eci"] == {
            "value": report(runs / name)["eci"], "interval": report(runs / name)["intervals"]["eci"]
        }  # fmt: skip
    pair = found["comparisons"][0]["numbers"]["hardness"]
    assert pair["base"] == pytest.approx(report(runs / "one")["hardness"])
    assert pair["difference"] == pytest.approx(pair["other"] - pair["base"])
    assert pair["interval"][0] <= pair["difference"] <= pair["interval"][1]
    # over the queries that both have, not over all
    part = [q["eci"] for q in rows(runs / "one/report/queries") if int(q["query_id"][1:]) >= 20]
    assert found["comparisons"][1]["numbers"]["eci"]["base"] == pytest.approx(np.mean(part), abs=1e-6)
    # pairing sees what the intervals of each by itself do not
    apart = sum(end * sign for end, sign in zip(found["sets"][0]["numbers"]["eci"]["interval"], (-1, 1), strict=True))
    low, high = found["comparisons"][0]["numbers"]["eci"]["interval"]
    assert high - low < apart + 1e-9


def test_a_set_does_not_differ_from_itself(runs: Path) -> None:
    found = compare(names(runs, "one", "one"))
    pair = found["comparisons"][0]
    assert pair["negatives"]["share"] == pair["negatives"]["jaccard"] == 1
    assert {row["difference"] for row in pair["numbers"].values()} == {0}
    assert {tuple(row["interval"]) for row in pair["numbers"].values()} == {(0, 0)}
    assert found["most_different"] == []
    assert [one["negatives"] for one in found["only"]] == [0, 0]
    assert found["warnings"] == []


def test_the_queries_that_differ_most_come_first_with_what_not_all_have(runs: Path) -> None:
    found = compare(names(runs, "one", "loose", "strict"), examples=40)["most_different"]
    sets = [negatives(runs / name) for name in ("one", "loose", "strict")]
    agreed = {}
    for query in {k[0] for own in sets for k in own}:
        own = [{d for q, d in one if q == query} for one in sets]
        if set.intersection(*own) != set.union(*own):
            agreed[query] = len(set.intersection(*own)) / len(set.union(*own))
    assert {one["query_id"]: one["jaccard"] for one in found} == pytest.approx(agreed)
    assert [one["jaccard"] for one in found] == sorted(one["jaccard"] for one in found)
    texts = {r["doc_id"]: r["text"] for r in rows(runs / "one/ingest/corpus")}
    for one in found:
        own = [{d for q, d in side if q == one["query_id"]} for side in sets]
        for side, listed in zip(own, one["negatives"], strict=True):
            assert {n["doc_id"] for n in listed} == side - set.intersection(*own)
            assert all(n["text"] == texts[n["doc_id"]] for n in listed)
            assert [n["score"] for n in listed] == sorted((n["score"] for n in listed), reverse=True)


def as_file(runs: Path, name: str, path: Path, shape: str) -> str:
    """Write a run's triplets in another shape, its texts in capitals, and return the file's name."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for row in rows(runs / name / "emit"):
        groups.setdefault((row["anchor"].upper(), row["positive"]), []).append(row)
    lines: list[dict[str, Any]] = []
    for (anchor, positive), own in groups.items():
        texts, scores = [r["negative"].upper() for r in own], [r["negative_score"] for r in own]
        if shape == "triplet":
            lines += [{"anchor": anchor, "positive": positive, "negative": text} for text in texts]
        elif shape == "n-tuple":
            padded = {f"negative_{i + 1}": texts[i] if i < len(texts) else None for i in range(3)}
            lines.append({"query": anchor, "positive": positive, **padded})
        elif shape == "lists":
            lines.append({"anchor": anchor, "positive": positive, "negatives": texts, "scores": [1.0, *scores]})
        else:
            lines.append({"query": anchor, "pos": [positive], "neg": texts, "neg_scores": scores})
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(lines), path)
    else:
        write_jsonl(path, lines)
    return str(path)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize("shape", ["triplet", "n-tuple", "lists", "bge"])
def test_a_file_of_the_same_negatives_is_the_same_set(runs: Path, tmp_path: Path, shape: str, ending: str) -> None:
    file = as_file(runs, "one", tmp_path / f"set{ending}", shape)
    found = compare([*names(runs, "one"), file])
    pair = found["comparisons"][0]
    asked = {query for query, _ in negatives(runs / "one")}
    assert pair["matched_by"] == "texts"
    assert pair["queries"] == {"shared": len(asked), "only_base": 40 - len(asked), "only_other": 0}
    assert pair["negatives"]["shared"] == len(negatives(runs / "one"))
    assert pair["negatives"]["share"] == 1
    assert (pair["numbers"], pair["numbers_reason"]) == (None, NO_NUMBERS)
    known = shape in ("lists", "bge")
    assert pair["both"]["shifts"]["scores"]["count"] == (pair["negatives"]["shared"] if known else 0)
    if known:
        assert pair["both"]["shifts"]["scores"]["mean_absolute"] == pytest.approx(0, abs=1e-6)
    assert found["sets"][1]["numbers"] is None
    assert "fates" not in pair["only_base"]


def test_two_files_and_a_run_are_compared_by_their_texts(runs: Path, tmp_path: Path) -> None:
    files = [as_file(runs, name, tmp_path / f"{name}.jsonl", "triplet") for name in ("loose", "strict")]
    found = compare([*files, *names(runs, "one")], examples=2)
    loose, strict = negatives(runs / "loose"), negatives(runs / "strict")
    asked = {q for q, _ in loose} & {q for q, _ in strict}
    pair = found["comparisons"][0]
    both = {k for k in loose.keys() & strict.keys() if k[0] in asked}
    assert (pair["queries"]["shared"], pair["negatives"]["shared"]) == (len(asked), len(both))
    assert found["only"][0]["queries"] == 0  # the run knows all of them
    assert len(found["most_different"]) == 2
    assert found["most_different"][0]["query_id"] is None
    assert found["most_different"][0]["query"].isupper()


def test_other_teachers_and_wishes_are_warned_of(runs: Path, tmp_path: Path) -> None:
    warned = compare(names(runs, "one", "half"))["warnings"]
    assert any("vectors differ (embed.query_prompt)" in one for one in warned)
    run(config_for(runs, "five", emit={"num_negatives": 5}), options=RunOptions(runs / "one"))
    assert any("different numbers" in one for one in compare(names(runs, "one", "five"))["warnings"])
    other = make_collection(tmp_path, 80, 40)
    text = (other / "queries.jsonl").read_text().replace("amber", "walnut")
    (other / "queries.jsonl").write_text(text)
    run(config_for(other, "out"))
    moved = sum("walnut" in line for line in text.splitlines())
    warned = compare([*names(runs, "one"), str(other / "out")])["warnings"]
    assert any(f"{moved} query ids stand for another text" in one for one in warned)


def test_only_what_differs_between_runs_is_named(runs: Path, tmp_path: Path) -> None:
    def settings(*parts: str) -> dict[str, list[Any]]:
        found = compare(names(runs, *parts))
        assert all(len(one["values"]) == len(parts) for one in found["settings"])
        return {one["name"]: one["values"] for one in found["settings"]}

    assert settings("one", "loose", "strict") == {"filter.percent": [0.7, 0.9, 0.6]}
    judged = [{"query_id": "q1", "doc_id": "d7", "judgement": "irrelevant"}]
    write_jsonl(runs / "judged.jsonl", judged)
    wanted = {"emit": {"extra_columns": EXTRA, "num_negatives": 3}, "filter": {"percent": 0.7}}
    run(config_for(runs, "judged", input={"judgements": "judged.jsonl"}, **wanted))
    found = compare(names(runs, "one", "judged"))
    assert [(one["name"], one["kind"]) for one in found["settings"]] == [("input.judgements", "file")]
    assert found["settings"][0]["values"][0] is None
    assert found["settings"][0]["values"][1].startswith("judged.jsonl (")
    assert found["warnings"] == [
        "the runs' labels differ (input.judgements): false negatives are counted by other labels in each"
    ]
    (runs / "evaluated.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td7\t1\n")
    run(config_for(runs, "evaluated", input={"eval_qrels": "evaluated.tsv"}, **wanted))
    found = compare(names(runs, "one", "evaluated"))
    assert [one["name"] for one in found["settings"]] == ["input.eval_qrels"]
    assert "the runs' labels differ (input.eval_qrels)" in found["warnings"][0]
    for kind in ("corpus", "queries"):  # only names and places differ
        shutil.copy(runs / f"{kind}.jsonl", runs / f"renamed-{kind}.jsonl")
    renamed = {"corpus": "renamed-corpus.jsonl", "queries": "renamed-queries.jsonl"}
    run(config_for(runs, "renamed", input=renamed, **wanted))
    found = compare(names(runs, "one", "renamed"))
    assert (found["settings"], found["warnings"]) == ([], [])
    assert settings("one", "half").keys() == {"input.queries", "input.unknown_ids", "embed.query_prompt"}


def test_hardness_is_no_ground_for_a_verdict_where_one_set_has_random_documents(runs: Path) -> None:
    mixed = {"extra_columns": EXTRA, "num_negatives": 3, "choose": "mixed", "random_share": 0.6}
    config = config_for(runs, "mixed", emit=mixed, filter={"percent": 0.7})
    run(config, options=RunOptions(runs / "one"))
    found = compare(names(runs, "mixed", "one"))
    assert any("random documents, so hardness does not compare" in one for one in found["warnings"])
    verdict = found["comparisons"][0]["verdict"]
    assert verdict["better"] is None
    assert "hardness" in verdict["line"].split(";")[-1]
    assert "cannot be compared" in verdict["line"]


def test_other_documents_are_counted(runs: Path, tmp_path: Path) -> None:
    other = make_collection(tmp_path, 80, 40)
    lines = (other / "corpus.jsonl").read_text().splitlines()
    assert "amber" not in lines[0].split('"text"')[0]
    own = json.loads(lines[0])
    changed = [json.dumps(own | {"text": "a quite different text"}), *lines[1:], json.dumps(own | {"doc_id": "new"})]
    (other / "corpus.jsonl").write_text("\n".join(changed) + "\n")
    run(config_for(other, "out"))
    warned = "\n".join(compare([*names(runs, "one"), str(other / "out")])["warnings"])
    assert "1 document ids stand for another text in each" in warned
    assert "0 documents are only in the first corpus, 1 only in the second" in warned
    assert "vectors differ" not in warned


def test_everything_wrong_is_named_at_once(runs: Path, tmp_path: Path) -> None:
    bad = write_jsonl(tmp_path / "columns.jsonl", [{"question": "a", "text": "b"}])
    texts = write_jsonl(tmp_path / "texts.jsonl", [{"anchor": "a", "positive": "b", "negative": 7}])
    strange = write_jsonl(tmp_path / "strange.jsonl", [{"anchor": "zzz", "positive": "b", "negative": "c"}])
    (tmp_path / "set.xlsx").write_bytes(b"")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1xx")
    (tmp_path / "line.jsonl").write_text('{"anchor": \n')
    (tmp_path / "half/ingest").mkdir(parents=True)
    (tmp_path / "half/ingest/_started.json").write_text("{}")
    wrong = ("set.xlsx", "cut.parquet", "line.jsonl", "missing.parquet", "half")
    given = [*names(runs, "one"), str(bad), str(texts), str(strange), *(str(tmp_path / name) for name in wrong)]
    with pytest.raises(InputError) as caught:
        compare(given)
    message = str(caught.value)
    for part in (
        "columns.jsonl: columns of no known shape; it has: question, text; accepted: triplet (",
        "texts.jsonl line 1: negative: text expected, found '7'",
        "strange.jsonl: no query in common, by text",
        "format not known from '.xlsx'",
        "cut.parquet: not a readable Parquet file",
        "line.jsonl line 1: not valid JSON",
        "missing.parquet: no such file",
        "half: the run is not complete",
    ):
        assert part in message
    with pytest.raises(ConfigError, match="two sets or more"):
        compare(given[:1])


def test_runs_that_are_not_whole_say_what_to_do(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(IncompleteStage, match="reads ingest of another run; name that run too"):
        compare(names(runs, "loose", "strict"))
    assert compare(names(runs, "loose", "strict"), runs / "one")["comparisons"]
    old, new = tmp_path / "old", tmp_path / "new"
    for copy in (old, new):
        shutil.copytree(runs / "one", copy)
    manifest = json.loads((old / "report/_manifest.json").read_text())
    (old / "report/_manifest.json").write_text(json.dumps(manifest | {"version": 0}))
    emitted = json.loads((new / "emit/_manifest.json").read_text())
    (new / "emit/_manifest.json").write_text(json.dumps(emitted | {"key": "another"}))
    with pytest.raises(IncompleteStage) as caught:
        compare([str(old), str(new), *names(runs, "loose")])
    assert "old: its report was written by another version" in str(caught.value)


def test_the_page_stands_alone_and_texts_are_no_markup(runs: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    one = write_jsonl(tmp_path / "a.jsonl", [{"anchor": f"ask {evil}", "positive": "p", "negative": f"{evil} " * 99}])
    two = write_jsonl(tmp_path / "b.jsonl", [{"anchor": f"ask {evil}", "positive": "p", "negative": "{{ 7 * 7 }}"}])
    page = compare_page(compare([str(one), str(two)]))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "{{ 7 * 7 }}" in page
    assert len(page) < 10_000
    whole = compare_page(compare([*names(runs, "one", "loose"), as_file(runs, "strict", tmp_path / "c.jsonl", "bge")]))
    for part in ("http:", "https:", "src=", "<link", "@import", "nan", "None"):
        assert part not in whole
    assert whole == compare_page(
        compare([*names(runs, "one", "loose"), as_file(runs, "strict", tmp_path / "c.jsonl", "bge")])
    )
    assert "95% interval, paired" in whole
    assert NO_NUMBERS in whole
    assert "kept, not chosen" in whole


def test_sets_without_negatives_compare(runs: Path) -> None:
    none = {"rule": "absolute", "max_score": -5.0}
    run(config_for(runs, "none", filter=none, emit={"num_negatives": 3}), options=RunOptions(runs / "one"))
    found = compare(names(runs, "one", "none", "none"))
    pair, same = found["comparisons"][0], compare([*names(runs, "none", "none"), str(runs / "one")])["comparisons"][0]
    assert (pair["negatives"]["share"], pair["negatives"]["shared"]) == (0, 0)
    assert pair["numbers"]["hardness"]["difference"] is pair["numbers"]["hardness"]["interval"] is None
    assert same["negatives"]["share"] is same["negatives"]["jaccard"] is None
    # `one` found some by a deeper search, which a rule that rejects all alike has no reason for
    assert set(pair["only_base"]["fates"]) == {"rejected: absolute", "not retrieved"}
    json.dumps(found, allow_nan=False)
    assert not math.isnan(pair["both"]["negatives"])
    assert "nan" not in compare_page(found)
