"""The report's section on relabelled positives, against a loop over the rows of the hidden-positive protocol."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnmine import run
from hnmine.runtime.stage import RunContext
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.hidden_positives import ProtocolRows
from hnmine.stages.filter.inputs import FilterInputs, read_calibration
from hnmine.stages.report.headline import relabelled_line
from hnmine.stages.report.relabelled import measure_precision
from tests.pipeline.helpers import report
from tests.support import config_for, make_collection


def settings(base: Path, out: str, **tables: Any) -> Any:
    return config_for(base, out, **{"filter": {"rule": "auto"}, **tables})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("precision"), 120, 300)
    run(settings(folder, "out", emit={"relabel": 0.7, "max_relabelled": 2}))
    return folder


def test_precision_is_that_of_a_loop(base: Path) -> None:
    config = settings(base, "out", emit={"relabel": 0.7, "max_relabelled": 2})
    context = RunContext(config, base / "out")
    protocol = ProtocolRows.of(FilterInputs.open(context).batches, config)
    calibration = read_calibration(context.reading("filter"), config.seed)
    assert calibration is not None
    scorer = calibration.out_of_fold()
    hits, trials, expected = 0, 0, []
    for part in protocol.rows:
        judged = part.verdicts(config.filter.model_copy(update={"rule": "none", "anchor": "each"}), scorer)
        assert judged.probabilities is not None
        own = defaultdict(list)
        for at, p in enumerate(judged.probabilities.astype(np.float32)):
            if judged.codes[at] == 0 and p >= 0.7:
                own[part.batch.owners[at]].append((-p, part.batch.candidates.values[at], at))
        for some in own.values():
            for p, _, at in sorted(some)[:2]:
                trials += 1
                hits += part.is_hidden[at]
                expected.append(-p)
    found = measure_precision(protocol.rows, config, scorer)
    assert (found["candidates"], found["hidden"]) == (trials, hits)
    assert trials > 50
    assert found["precision"] == hits / trials
    assert found["interval"][0] < found["precision"] <= found["interval"][1]
    assert found["expected"] == pytest.approx(np.mean(expected))
    section = report(base / "out")["relabelled"]
    assert {name: section[name] for name in found} == found
    assert section["warning"] is None
    assert f"{trials:,} such candidates" in relabelled_line(section)


def test_the_counts_are_those_of_emit(base: Path) -> None:
    found = report(base / "out")
    section, counts = found["relabelled"], found["counts"]["emit"]
    assert section["by_probability"] == counts["positives_relabelled"] > 50
    assert section["by_judgement"] == 0
    assert section["queries"] == counts["queries_relabelled"]
    assert section["share"] == section["by_probability"] / (450 + section["by_probability"])
    assert "relabelled" not in report_of_plain(base)


def report_of_plain(base: Path) -> dict[str, Any]:
    run(settings(base, "plain"))
    return report(base / "plain")


def test_a_model_from_other_collections_is_warned_of(tmp_path: Path) -> None:
    make_collection(tmp_path, 120, 60)  # too few queries with two positives
    run(settings(tmp_path, "out", emit={"relabel": 0.7}))
    section = report(tmp_path / "out")["relabelled"]
    assert section["precision"] is None
    assert "needed to fit" in section["reason"]
    assert "other collections" in section["warning"]
    assert "relevant" not in relabelled_line(section)


class Unsure:
    """A model that gives every candidate the same probability."""

    threshold, takes_teacher_scores = 1.0, False

    def probabilities(self, batch: Batch, cells: Cells) -> np.ndarray:
        return np.full(len(cells.candidate), 0.6)


def test_without_such_a_candidate_nothing_is_measured(base: Path) -> None:
    config = settings(base, "out", emit={"relabel": 0.7})
    protocol = ProtocolRows.of(FilterInputs.open(RunContext(config, base / "out")).batches, config)
    found = measure_precision(protocol.rows, config, Unsure())
    assert found["candidates"] == found["hidden"] == 0
    assert "precision" not in found
    assert found["reason"]
