"""Requests out and replies back: what is asked, what the judgements do to a run, and what the report says of it."""

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hnmine import run
from hnmine.cli.command_tables import draw_judge
from hnmine.commands.judge.ask import Budget
from hnmine.commands.judge.judge import JudgeOptions, export_requests, read_batch
from hnmine.commands.judge.questions import Question, asked_path, read_asked
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, InputError, OutputError
from hnmine.storage.store import read_json
from tests.commands.judge.fakes import asked_of, batch_line, true_content
from tests.commands.sample_runs import sample_config, sample_truth
from tests.pipeline.helpers import emitted, rows
from tests.support import config_for, make_collection, write_jsonl

TRUTH = sample_truth()
NEGATIVES = {"emit": {"choose": "top"}}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run of the sample."""
    folder = tmp_path_factory.mktemp("judge")
    run(sample_config(folder / "first", **NEGATIVES), stages=("ingest", "embed", "index", "retrieve", "filter", "emit"))
    return folder


def config(folder: Path, **judge: Any) -> Config:
    return sample_config(folder / "first", **NEGATIVES, judge={"served_model": "m", **judge})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def replied(path: Path, questions: list[Question], wrong: float = 0.0) -> Path:
    """Write the replies of a judge that knows the truth, in another order than asked; some may be wrong."""
    drawn = random.Random(0)
    told: dict[str, set[str]] = defaultdict(set)
    for one in questions:
        for candidate in one.candidates:
            if (candidate.doc_id in TRUTH[one.query_id]) != (drawn.random() < wrong):
                told[one.query_id].add(candidate.doc_id)
    found = [batch_line(one.custom_id, true_content(one, told)) for one in questions]
    drawn.shuffle(found)
    return write_jsonl(path, found)


@pytest.fixture(scope="module")
def judged(first: Path) -> Path:
    """Return judgements of that run, by requests to a judge that knows the truth."""
    export_requests(config(first), first / "requests.jsonl", JudgeOptions(number=100, sample="worth"))
    asked = asked_path(first / "requests.jsonl")
    files = replied(first / "replies.jsonl", read_asked(asked))
    read_batch(first / "judged.jsonl", [str(files)], asked, JudgeOptions())
    return first / "judged.jsonl"


def test_the_most_valuable_candidates_are_asked_about_in_few_requests(first: Path, judged: Path) -> None:
    questions = read_asked(asked_path(first / "requests.jsonl"))
    values = [[one.fields["value"] for one in question.candidates] for question in questions]
    assert sum(map(len, values)) == 100
    assert max(map(len, values)) <= 10
    totals = [sum(own) for own in values]
    assert all(more >= less - 1e-5 for more, less in pairwise(totals)), "values are rounded to six digits"
    assert len({one.query_id for one in questions}) == len(questions)
    assert any(own != sorted(own, reverse=True) for own in values), "the order of the candidates says nothing"
    texts = {one["doc_id"]: " ".join([one["title"], one["text"]]) for one in sample_lines("corpus.jsonl")}
    for body, question in zip((line["body"] for line in lines(first / "requests.jsonl")), questions, strict=True):
        asked = asked_of(body)
        assert [*asked["candidates"].values()] == [texts[one.doc_id] for one in question.candidates]
        assert 1 <= len(asked["relevant"]) <= 3
        assert not {*asked["relevant"]} & {*asked["candidates"].values()}


def sample_lines(name: str) -> Iterator[dict[str, Any]]:
    from tests.commands.sample_runs import SAMPLE

    return (json.loads(line) for line in (SAMPLE / name).read_text(encoding="utf-8").splitlines())


def test_a_judge_takes_false_negatives_out_and_the_report_says_what_it_cost(first: Path, judged: Path) -> None:
    before = emitted(first / "first")
    run(sample_config(first / "second", **NEGATIVES, input={"judgements": str(judged)}))
    told = {(one["query_id"], one["doc_id"]): one for one in lines(judged)}
    relevant = {pair for pair, one in told.items() if one["judgement"] == "relevant"}
    assert relevant == {pair for pair in told if pair[1] in TRUTH[pair[0]]}
    negatives = {(row["query_id"], row["negative_id"]) for row in before}
    assert {pair for pair, one in told.items() if one["chosen"]} == negatives & set(told)
    after = {(row["query_id"], row["negative_id"]) for row in emitted(first / "second")}
    assert relevant & negatives
    assert not relevant & after
    found = read_json(first / "second/report/report.json")["judging"]
    requests = {one["request"] for one in told.values()}
    assert found == {
        "pairs": 100, "relevant": len(relevant), "irrelevant": 100 - len(relevant), "unsure": 0, "unanswered": 0,
        "requests": len(requests), "prompt_tokens": 100 * len(requests), "completion_tokens": 10 * len(requests),
        "without_usage": 0, "negatives": len(negatives & set(told)), "negatives_relevant": len(relevant & negatives),
        "judged_twice": 0, "overturned": 0,
        "judges": [
            {"judge": "m", "template": "better-or-worse", "pairs": 100, "relevant": len(relevant),
             "irrelevant": 100 - len(relevant), "unsure": 0, "unanswered": 0, "requests": len(requests),
             "prompt_tokens": 100 * len(requests), "completion_tokens": 10 * len(requests), "without_usage": 0},
        ],
    }  # fmt: skip
    marked = sum(row["verdicts"][0].count("judged_relevant") for row in rows(first / "second/filter"))
    assert marked >= len(relevant)


@pytest.mark.parametrize("template", ["answers", "grades"])
def test_every_template_comes_to_the_same_judgements(first: Path, judged: Path, template: str) -> None:
    path = first / f"{template}.jsonl"
    export_requests(config(first, template=template), path, JudgeOptions(number=100, sample="worth"))
    files = replied(first / f"{template}-replies.jsonl", read_asked(asked_path(path)))
    read_batch(first / f"{template}-judged.jsonl", [str(files)], asked_path(path), JudgeOptions())
    said = [{(o["query_id"], o["doc_id"]): o["judgement"] for o in lines(first / name)}
            for name in (f"{template}-judged.jsonl", "judged.jsonl")]  # fmt: skip
    assert said[0] == said[1]
    assert {type(one["grade"]) for one in lines(first / f"{template}-judged.jsonl")} == {
        str if template == "answers" else int
    }


def test_the_files_are_the_same_whatever_the_shards_and_again(tmp_path: Path) -> None:
    folder = make_collection(tmp_path, 60, 280)
    files = []
    for name, size in (("one", 4096), ("many", 256)):
        own = config_for(folder, name, shard_rows=size, judge={"served_model": "m", "candidates": 2})
        run(own, stages=("ingest", "embed", "index", "retrieve", "filter", "emit"))
        for turn in range(2):
            path = tmp_path / f"{name}-{turn}.jsonl"
            export_requests(own, path, JudgeOptions(number=50, per_query=3))
            files.append((path.read_bytes(), asked_path(path).read_bytes()))
    assert len(set(files)) == 1
    sizes = [len(line["candidates"]) for line in map(json.loads, files[0][1].splitlines())]
    assert sum(sizes) == 50
    assert max(sizes) == 2
    another = config_for(folder, "one", seed=1, judge={"served_model": "m", "candidates": 2})
    found = export_requests(another, tmp_path / "seed.jsonl", JudgeOptions(number=50, per_query=3))
    assert (tmp_path / "seed.jsonl").read_bytes() == files[0][0], "the seed of the run counts"
    assert "seed" in str(found["other_settings"])


def test_a_second_judge_sees_what_the_first_calls_relevant_and_decides(first: Path, judged: Path) -> None:
    asked = asked_path(first / "requests.jsonl")
    noisy = replied(first / "noisy.jsonl", read_asked(asked), wrong=0.2)
    read_batch(first / "cheap.jsonl", [str(noisy)], asked, JudgeOptions())
    options = JudgeOptions(again=first / "cheap.jsonl")
    better = config(first, second={"served_model": "better", "template": "grades"})
    made = export_requests(better, first / "again.jsonl", options)
    questions = read_asked(asked_path(first / "again.jsonl"))
    cheap = {(one["query_id"], one["doc_id"]): one for one in lines(first / "cheap.jsonl")}
    flagged = {pair for pair, one in cheap.items() if one["judgement"] == "relevant"}
    assert {(one.query_id, c.doc_id) for one in questions for c in one.candidates} == flagged
    assert (made["judge"], made["template"]) == ("better", "grades")
    good = lines(replied(first / "again-replies.jsonl", questions))
    good[0]["response"]["body"]["choices"][0]["message"]["content"] = "Sorry."
    unanswered = next(one for one in questions if one.custom_id == good[0]["custom_id"])
    write_jsonl(first / "again-replies.jsonl", good)
    found = read_batch(
        first / "final.jsonl", [str(first / "again-replies.jsonl")], asked_path(first / "again.jsonl"), options
    )
    final = {(one["query_id"], one["doc_id"]): one for one in lines(first / "final.jsonl")}
    assert list(final) == list(cheap)
    without = {(unanswered.query_id, one.doc_id) for one in unanswered.candidates}
    for pair, one in final.items():
        if pair not in flagged:
            assert one == cheap[pair]
        elif pair in without:
            assert one == cheap[pair] | {"second": one["second"]}
            assert one["second"]["fault"] == "malformed"
        else:
            assert one["judgement"] == ("relevant" if pair[1] in TRUTH[pair[0]] else "irrelevant")
            assert (one["judge"], one["first"]["judge"], one["first"]["judgement"]) == ("better", "m", "relevant")
    overturned = sum(pair[1] not in TRUTH[pair[0]] for pair in flagged - without)
    assert found["again"] == {
        "asked": len(flagged), "confirmed": len(flagged - without) - overturned, "overturned": overturned,
        "no_answer": len(without),
    }  # fmt: skip
    run(sample_config(first / "third", **NEGATIVES, input={"judgements": str(first / "final.jsonl")}))
    told = read_json(first / "third/report/report.json")["judging"]
    assert (told["judged_twice"], told["overturned"]) == (len(flagged - without), overturned)
    assert [one["requests"] for one in told["judges"]] == [len(questions), len(read_asked(asked))]
    assert told["requests"] == len(questions) + len(read_asked(asked))
    with pytest.raises(ConfigError, match="choose another file"):
        read_batch(first / "cheap.jsonl", [str(noisy)], asked, options)


def test_a_judged_random_sample_gives_the_rate_of_the_set(first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = first / "sample.jsonl"
    export_requests(config(first), path, JudgeOptions(number=150, sample="random"))
    files = replied(first / "sample-replies.jsonl", read_asked(asked_path(path)))
    said = read_batch(first / "sample-judged.jsonl", [str(files)], asked_path(path), JudgeOptions())
    draw_judge(said)
    assert "Set report.judged_sample" in capsys.readouterr().err
    sampled = sample_config(first / "first", **NEGATIVES, report={"judged_sample": str(first / "sample-judged.jsonl")})
    run(sampled)
    found = read_json(first / "first/report/report.json")["judged_sample"]
    truth = [row["negative_id"] in TRUTH[row["query_id"]] for row in emitted(first / "first")]
    assert found["judged"] == 150
    low, high = found["interval"]
    assert low <= sum(truth) / len(truth) <= high


def test_partial_replies_give_what_they_have_and_the_rest_is_named(first: Path, judged: Path) -> None:
    asked = asked_path(first / "requests.jsonl")
    some = lines(first / "replies.jsonl")[:5]
    some[0]["response"]["body"]["choices"][0]["message"]["content"] = "No JSON."
    write_jsonl(first / "some.jsonl", some)
    found = read_batch(first / "some-judged.jsonl", [str(first / "some.jsonl")], asked, JudgeOptions())
    questions = {one.custom_id: one for one in read_asked(asked)}
    written = lines(first / "some-judged.jsonl")
    own = [one["custom_id"] for one in some]
    assert {one["request"] for one in written} == set(own)
    assert found["requests"] == 5
    assert found["findings"]["malformed"]["first"] == [questions[own[0]].query_id]
    assert found["findings"]["no_reply"]["count"] == len(questions) - 5
    assert {one["fault"] for one in written if one["judgement"] == ""} == {"malformed"}
    other = first / "other-asked.jsonl"
    other.write_text(asked.read_text().splitlines()[-1])
    with pytest.raises(OutputError, match="would be lost"):
        read_batch(first / "some-judged.jsonl", [str(first / "replies.jsonl")], other, JudgeOptions())
    write_jsonl(first / "rest.jsonl", lines(first / "replies.jsonl")[5:])
    with pytest.raises(OutputError, match="would be lost"):
        read_batch(first / "some-judged.jsonl", [str(first / "rest.jsonl")], asked, JudgeOptions())


def test_what_cannot_be_done_is_said_before_anything_is_written(first: Path, judged: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with pytest.raises(ConfigError, match=r"judge\.served_model"):
        export_requests(config(first, served_model=None), path, JudgeOptions())
    with pytest.raises(InputError, match="--again"):
        export_requests(config(first), path, JudgeOptions(again=tmp_path / "none.jsonl"))
    people = write_jsonl(tmp_path / "people.jsonl", [{"query_id": "q001", "doc_id": "d", "judgement": "relevant"}])
    with pytest.raises(InputError, match="no line of a judge"):
        export_requests(config(first), path, JudgeOptions(again=people))
    gone = [{**lines(judged)[0], "doc_id": "gone", "judgement": "relevant"}]
    with pytest.raises(InputError, match="'gone'"):
        export_requests(config(first), path, JudgeOptions(again=write_jsonl(tmp_path / "gone.jsonl", gone)))
    none = [line | {"judgement": "irrelevant"} for line in lines(judged)]
    with pytest.raises(InputError, match="calls nothing relevant"):
        export_requests(config(first), path, JudgeOptions(again=write_jsonl(tmp_path / "no.jsonl", none)))
    kept = judged.read_bytes()
    with pytest.raises(ConfigError, match="choose another file"):
        export_requests(config(first), judged, JudgeOptions(again=judged, replace=True))
    assert judged.read_bytes() == kept
    several = JudgeOptions(number=3, per_query=1, sample="random", seed=1, again=judged)
    with pytest.raises(ConfigError, match="--number, --per-query, --sample, --seed: not with --again"):
        export_requests(config(first), path, several)
    assert not path.exists()
    export_requests(config(first), path, JudgeOptions(budget=Budget(requests=3)))
    assert len(lines(path)) == len(lines(asked_path(path))) == 3
    with pytest.raises(OutputError, match="--force"):
        export_requests(config(first), path, JudgeOptions())
    export_requests(config(first), path, JudgeOptions(number=5, replace=True))
    with pytest.raises(InputError, match="belong together"):
        read_batch(
            tmp_path / "j.jsonl",
            [str(write_jsonl(tmp_path / "x.jsonl", [batch_line("id", "{}")]))],
            asked_path(path),
            JudgeOptions(),
        )
    with pytest.raises(InputError, match="belong together"):
        read_batch(tmp_path / "j.jsonl", [str(path)], asked_path(path), JudgeOptions())  # requests in place of replies
    assert not (tmp_path / "j.jsonl").exists()
    odd = write_jsonl(tmp_path / "odd.jsonl", [{"query_id": ["q"], "doc_id": {}, "judgement": "relevant"}])
    with pytest.raises(OutputError, match="line 1: a judgement that the judge is not asked for"):
        read_batch(odd, [str(path)], asked_path(path), JudgeOptions())


def test_by_default_only_negatives_of_the_run_are_asked_about(first: Path) -> None:
    export_requests(config(first), first / "negatives.jsonl", JudgeOptions(number=60))
    found = [c for one in read_asked(asked_path(first / "negatives.jsonl")) for c in one.candidates]
    assert len(found) == 60
    assert all(one.fields["chosen"] for one in found)
