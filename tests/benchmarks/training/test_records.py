"""Stored records and the tables made of them."""

import numpy as np
import pytest

from tests.benchmarks.training.records import UNTRAINED, Record, Records
from tests.benchmarks.training.tables import (
    Block,
    block_table,
    by_query,
    gains_table,
    mean_over_blocks,
    regret_table,
    with_interval,
)


def store(records: Records, arm: str, seed: int, ndcg: dict[str, float], mined: str = "a") -> Record:
    record = Record(
        "made", "", "static", "main", arm, seed, mined, 0.0, 0.5, 10, len(ndcg), 100, 1.0, 0.1, 0.4, 1.0, 50
    )
    records.add(record, list(ndcg), np.array(list(ndcg.values())))
    return record


@pytest.fixture
def records(tmp_path) -> Records:
    made = Records(tmp_path / "records.jsonl")
    for seed, queries in ((0, ("q1", "q2")), (1, ("q2", "q3"))):
        store(made, UNTRAINED, seed, dict.fromkeys(queries, 0.5))
        store(made, "random", seed, {name: 0.6 + 0.1 * seed for name in queries})
        store(made, "auto", seed, dict.fromkeys(queries, 0.8))
    return made


def test_records_are_read_as_they_were_stored(records):
    again = Records(records.path)
    assert again.all == records.all
    one = again.latest(arm="random", seed=1)[0]
    assert again.values(one) == pytest.approx({"q2": 0.7, "q3": 0.7})


def test_of_an_arm_whose_set_has_changed_the_last_record_counts(records):
    new = store(records, "auto", 0, {"q1": 0.1, "q2": 0.1}, mined="b")
    assert new in records.latest(arm="auto")
    assert len(records.latest(arm="auto")) == 2


def test_a_query_of_several_seeds_counts_once(records):
    block = Block(records, "made", "", "static", "main")
    assert block.by_query("auto", "random") == pytest.approx([0.2, 0.15, 0.1])
    assert block.difference("auto", "random").queries == 3


def test_arms_are_compared_on_the_seeds_that_both_have(records):
    store(records, "oracle", 1, {"q2": 0.9, "q3": 0.9})
    assert Block(records, "made", "", "static", "main").by_query("oracle", "auto") == pytest.approx([0.1, 0.1])


def test_tables_name_every_arm_and_the_regret(records):
    block = Block(records, "made", "", "static", "main")
    text = "\n".join(block_table(block))
    assert all(f"| {arm} | 2 |" in text for arm in ("random", "auto"))
    assert "Sees safety: not tried" in text
    assert "| 0% |" in "\n".join(regret_table([block]))


def test_the_table_of_gains_has_differences_in_thousandths(records):
    text = "\n".join(gains_table([Block(records, "made", "", "static", "main")], "random"))
    assert "| random itself | 150.0 (100.0 to 200.0) |" in text
    assert "| auto | **+150.0** (+100.0 to +200.0) |" in text


def test_the_best_arm_is_found_on_shared_seeds(records):
    store(records, "ranks 31-", 1, {"q2": 0.9, "q3": 0.9})
    block = Block(records, "made", "", "static", "main")
    assert block.best("auto") == "ranks 31-"


def test_an_interval_covers_the_mean():
    values = np.random.default_rng(0).normal(0.02, 0.1, 400)
    found = with_interval(values)
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(4 * 0.1 / np.sqrt(400), rel=0.2)


def test_a_rate_is_that_of_all_negatives_and_a_query_of_several_seeds_is_drawn_once():
    seeds = [{"false": {"q1": 1, "q2": 0}, "count": {"q1": 2, "q2": 2}}, {"false": {"q2": 3}, "count": {"q2": 6}}]
    false, count = (by_query(seeds, key, np.sum) for key in ("false", "count"))
    assert (false, count) == ({"q1": 1.0, "q2": 3.0}, {"q1": 2.0, "q2": 8.0})
    found = with_interval(np.array(list(false.values())), np.array(list(count.values())))
    assert (found.mean, found.low, found.high, found.queries) == pytest.approx((0.4, 0.375, 0.5, 2))


def test_a_mean_over_blocks_weighs_each_block_alike():
    found = mean_over_blocks([np.full(10, 0.1), np.full(1000, 0.3)])
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.2, 0.2))
