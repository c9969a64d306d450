"""Requests about candidates of a run: which, in what order, and how many texts are read at a time."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest

from hnmine import run
from hnmine.commands.export_judgements import ExportOptions, judging_queue
from hnmine.commands.judge import selection as module
from hnmine.commands.judge.questions import Texts
from hnmine.commands.judge.replies import Answers, Exchange, Reply
from hnmine.commands.judge.selection import Selection, select
from hnmine.config.models import JudgeTable
from hnmine.runtime.stage import RunContext
from tests.support import config_for, make_collection

SIZE = 3


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """Return the context of a finished run with some twenty candidates a query."""
    folder = make_collection(tmp_path_factory.mktemp("selected"), 90, 40)
    config = config_for(folder, retrieve={"top_k": 20}, emit={"num_negatives": 8})
    run(config, stages=("ingest", "embed", "index", "retrieve", "filter", "emit"))
    return RunContext(config, config.out_folder)


@pytest.fixture
def selected(context: RunContext) -> Selection:
    options = ExportOptions(10**9, 8, negatives=True)
    return select(context, options, JudgeTable(candidates=SIZE), "m")


def pairs(selection: Selection, places: np.ndarray | None = None) -> list[tuple[str, frozenset[str]]]:
    """Return query and documents of the requests."""
    found = selection.questions(places)
    return [(one.query_id, frozenset(candidate.doc_id for candidate in one.candidates)) for one in found]


def test_requests_hold_a_query_s_best_candidates_and_come_by_the_sum_of_their_values(
    context: RunContext, selected: Selection
) -> None:
    expected = defaultdict[int, list[tuple[float, str]]](list)
    for one in judging_queue(context, ExportOptions(10**9, 8, negatives=True)):
        expected[int(one["query"])].append((float(one["value"]), f"d{one['document']}"))
    requests = [
        (f"q{query}", own[first : first + SIZE])
        for query, own in expected.items()
        for first in range(0, len(own), SIZE)
    ]
    sums = {(query, frozenset(name for _, name in own)): sum(value for value, _ in own) for query, own in requests}
    found = pairs(selected)
    assert len(found) == len(selected) == len(sums) > 40
    assert set(found) == set(sums)
    of_found = [sums[one] for one in found]
    assert of_found == sorted(of_found, reverse=True)
    values = [sum(c.fields["value"] for c in one.candidates) for one in selected.questions()]
    assert values == pytest.approx(of_found, abs=1e-5)


def test_few_texts_are_read_at_a_time_and_no_request_depends_on_how_many(
    selected: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, read = list(selected.questions()), list[int]()
    texts = Selection._texts

    def counted(self: Selection, places: np.ndarray) -> Iterator[Texts]:
        read.append(len(places))
        return texts(self, places)

    monkeypatch.setattr(Selection, "_texts", counted)
    monkeypatch.setattr(module, "FIRST_READ", 2)
    monkeypatch.setattr(module, "MOST_READ", 8)
    coming = selected.questions()
    assert [next(coming) for _ in range(2)] == whole[:2]
    assert read == [2]
    assert [next(coming) for _ in range(9)] == whole[2:11]
    assert read == [2, 4, 8]
    assert list(coming) == whole[11:]
    assert max(read) == 8
    places = np.array([0, 7, 8, len(selected) - 1])
    assert list(selected.questions(places)) == [whole[place] for place in places]


def test_candidates_with_an_answer_are_left_out_and_the_others_of_their_request_are_asked_about(
    selected: Selection,
) -> None:
    whole = list(selected.questions())
    keys = [*(one.key for one in whole[2].candidates), whole[4].candidates[1].key]
    refused = Exchange("r2", "q", tuple(one.key for one in whole[5].candidates), 1, Reply(None, "no"))
    answers = Answers([Exchange("r1", "q", tuple(keys), 1, Reply("{}", "")), refused])
    found = list(selected.questions(None, answers))
    assert found[:3] == [whole[0], whole[1], whole[3]]
    assert found[3].candidates == (whole[4].candidates[0], whole[4].candidates[2])
    assert found[4:] == whole[5:]


def test_requests_are_found_by_query_and_pairs_that_are_in_none_are_named(selected: Selection) -> None:
    whole = pairs(selected)
    wanted = {whole[0][0], whole[5][0]}
    assert selected.about([*wanted, "none"]).tolist() == [at for at, one in enumerate(whole) if one[0] in wanted]
    assert selected.about([]).tolist() == []
    inside = [(query, name) for query, names in whole[:4] for name in sorted(names)]
    outside = [(whole[0][0], "d89x"), ("none", "d1"), (whole[0][0], f"d{int(whole[0][0][1:])}")]  # its own positive
    assert selected.lacks([*inside[:3], *outside, *inside[3:]]) == outside
    assert selected.lacks([]) == []
