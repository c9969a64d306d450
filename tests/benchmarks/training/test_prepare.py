"""The folders that the training benchmark prepares: what a user knows, what is held back, what the controls mine."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.stages.filter import calibration
from hnmine.stages.filter.features import NAMES
from hnmine.storage.store import write_json
from tests.benchmarks.training.arms import ARMS, Arm
from tests.benchmarks.training.mine import IDS, measure, mine, read_set, report_numbers
from tests.benchmarks.training.prepare import Prepared, prepare
from tests.benchmarks.training.transfer import fitted_elsewhere


@pytest.fixture(scope="module")
def prepared(data, tmp_path_factory) -> Prepared:
    return prepare(data, "made", 3, tmp_path_factory.mktemp("work") / "prepared" / "made-seed3")


def pairs(folder: Path) -> set[tuple[str, str]]:
    table = pq.read_table(folder / "qrels.parquet")
    return set(zip(table.column("query_id").to_pylist(), table.column("doc_id").to_pylist(), strict=True))


def queries_of(folder: Path, name: str = "queries") -> set[str]:
    return set(pq.read_table(folder / f"{name}.parquet").column("query_id").to_pylist())


def test_a_training_query_knows_one_label(prepared):
    known = pairs(prepared.user)
    assert len(known) == len(queries_of(prepared.user)) == len({query for query, _ in known})
    assert known < pairs(prepared.folder / "hidden")


def test_nothing_of_a_test_query_is_in_the_users_folder(prepared):
    test = queries_of(prepared.folder / "test")
    assert test
    assert not test & queries_of(prepared.user)
    assert not test & queries_of(prepared.user, "vectors-queries")
    assert not {query for query, _ in pairs(prepared.user)} & test


def test_every_label_is_known_held_back_or_tested(data, prepared):
    everything = pairs(prepared.folder / "hidden") | pairs(prepared.folder / "test")
    assert everything == pairs(data / "made")


def test_queries_that_share_a_positive_are_on_one_side(prepared):
    train, test = ({document for _, document in pairs(prepared.folder / side)} for side in ("hidden", "test"))
    assert not train & test


def test_the_corpus_is_whole(data, prepared):
    assert pq.read_table(prepared.user / "corpus.parquet").equals(pq.read_table(data / "made" / "corpus.parquet"))


def test_the_same_seed_prepares_the_same_and_another_seed_another_split(data, prepared, tmp_path):
    again, other = (prepare(data, "made", seed, tmp_path / str(seed)) for seed in (3, 4))
    assert pairs(again.user) == pairs(prepared.user) != pairs(other.user)
    assert prepare(data, "made", 3, tmp_path / "3") == again
    with pytest.raises(ValueError, match="prepared in another way"):
        prepare(data, "made", 4, tmp_path / "3")


def test_a_sample_has_at_most_so_many_queries(data, tmp_path):
    few = prepare(data, "made", 3, tmp_path / "few", queries=(10, 5))
    assert (len(few.training.ids), len(few.test.ids)) == (10, 5)
    assert json.loads((few.folder / "prepared.json").read_text())["queries"] == [10, 5]


def test_an_oracle_mines_no_hidden_positive_and_unfiltered_mines_some(prepared):
    for arm, none in (("oracle", True), ("unfiltered", False)):
        found = measure(prepared, read_set(prepared, mine(prepared, arm)), 5)
        assert (found["false_negatives"] == 0) is none
        assert found["fill"] == 1


@pytest.mark.parametrize("share", [0, 10, 30])
def test_the_planted_share_is_what_was_asked(prepared, share):
    mined = read_set(prepared, mine(prepared, f"planted {share}%"))
    found = measure(prepared, mined, 5)
    asked = round(share / 100 * found["negatives"]) / found["negatives"]
    most = sum(prepared.training.relevant.lengths - 1) / found["negatives"]
    assert found["false_negatives"] == pytest.approx(min(asked, most))
    assert not (mined.negatives.values == prepared.known[mined.negatives.owners]).any()
    assert all(len(set(own)) == len(own) for own in np.split(mined.negatives.values, mined.negatives.offsets[1:-1]))


def test_random_documents_are_no_known_positives(prepared):
    mined = read_set(prepared, mine(prepared, "random"))
    assert (mined.negatives.lengths == 5).all()
    assert not (mined.negatives.values == prepared.known[mined.negatives.owners]).any()


def test_a_rule_is_mined_by_the_pipeline_with_its_report(prepared):
    folder = mine(prepared, "percent 0.95")
    numbers = report_numbers(folder)
    found = measure(prepared, read_set(prepared, folder), 5)
    assert found["fill"] == pytest.approx(numbers["fill"])
    assert ARMS["percent 0.95"].filter["percent"] == 0.95


def test_a_deep_window_is_mined_from_a_longer_list(prepared):
    deep = Arm(filter={"rule": "none", "ranks": (150, 160)}, top_k=1000)
    mined = read_set(prepared, mine(prepared, "ranks 150-160", deep))
    assert (mined.negatives.lengths == 5).all()
    assert prepared.retrieved().config.retrieve.top_k < 150


def test_without_negatives_every_query_stays(prepared):
    mined = read_set(prepared, mine(prepared, "in-batch"))
    assert len(mined.negatives) == len(prepared.training.ids)
    assert not len(mined.negatives.values)


def test_a_model_stored_for_the_collection_is_transferred_in_place_of_the_packages(prepared):
    arrays = {key: [1.0] * len(NAMES) for key in ("mean", "scale", "weights")}
    model = {"features": list(NAMES), **arrays, "bias": -7.5}
    write_json(model, prepared.folder.parents[1] / "transfer" / f"{prepared.name}.json")
    with fitted_elsewhere(prepared):
        assert (calibration.transferred_models().bias == -7.5).all()
    assert (calibration.transferred_models().bias != -7.5).all()


def test_relabelled_positives_are_further_examples(prepared, tmp_path):
    ids, names = prepared.training.ids, {row: name for name, row in prepared.corpus.rows.items()}
    known, count = prepared.known, len(prepared.known)
    others = [row for row in range(8) if row not in known[:2]]
    found = [(1, known[1], others[:1]), (1, others[1], others[2:4]), (0, others[4], [])]
    columns = zip(*((ids[q], names[p], [names[n] for n in own]) for q, p, own in found), strict=True)
    (tmp_path / "emit").mkdir()
    pq.write_table(pa.table(dict(zip(IDS, columns, strict=True))), tmp_path / "emit/part-00000.parquet")
    mined = read_set(prepared, tmp_path)
    assert mined.asked.tolist() == [*range(count), 1, 0]
    assert mined.positives.tolist() == [*known, others[1], others[4]]
    assert mined.negatives.take(np.array([0, 1, count, count + 1])).values.tolist() == [others[0], *others[2:4]]
    assert measure(prepared, mined, 2)["fill"] == 3 / (2 * (count + 2))
