from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.config.filter import FilterConfig
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.verdicts import CODES, anchor_scores, countable_verdicts, give_verdicts, rule_names
from hnmine.storage.schemas.filter import VERDICTS
from tests import oracles
from tests.strategies import World, f32, filter_configs, make_query, thorough, worlds

LOOSE = {"rule": "none", "max_positive_similarity": None, "max_query_similarity": None}
NAMES = list(VERDICTS)


def verdicts(world, config, table=None, first=0, last=None, cosine=True, scorer=None):
    """Return the verdicts of each query: for each anchor, a list with one for each candidate."""
    batch = world.batch() if table is None else Batch.from_table(table)
    found = give_verdicts(batch, config, world.keys(first, last, cosine), scorer)
    assert found.codes.dtype == np.int8
    np.testing.assert_array_equal(found.keep, found.codes == CODES["keep"])
    return found.cells.nest(batch, pa.array([NAMES[code] for code in found.codes], pa.string())).to_pylist()


def kept(world, config):
    """Return {(query, anchor, document)} of what was kept."""
    found = set()
    for query, lists in zip(world.queries, verdicts(world, config), strict=True):
        for anchor, row in enumerate(lists):
            found |= {(query.row, anchor, d) for d, v in zip(query.candidates, row, strict=True) if v == "keep"}
    return found


@thorough
@given(worlds(), filter_configs())
def test_verdicts_are_those_of_the_double_loop(world, config):
    expected = [oracles.judge(query, config, world.documents) for query in world.queries]
    assert verdicts(world, config) == expected


@given(worlds(), filter_configs())
def test_anchor_scores_are_those_of_the_double_loop(world, config):
    found = anchor_scores(world.batch().positive_scores, config).to_arrow(pa.float32()).to_pylist()
    expected = oracles.anchors([q.positive_scores for q in world.queries], config.anchor, config.anchor_quantile)
    assert [len(row) for row in found] == [len(row) for row in expected]
    flat = [x for row in found for x in row]
    assert flat == pytest.approx([x for row in expected for x in row], rel=1e-6, abs=1e-7)


@given(worlds(), filter_configs())
def test_no_positive_nor_siblings_positive_nor_a_copy_of_a_positive_is_ever_kept(world, config):
    for row, _, document in kept(world, config):
        query = world.queries[row]
        assert document not in query.positives
        assert document not in query.siblings
        assert world.documents[document] not in {world.documents[p] for p in query.positives}
        assert world.documents[document] != query.key


@given(worlds(), filter_configs())
def test_no_two_kept_of_one_anchor_are_copies_and_the_first_of_them_is_kept(world, config):
    for query, lists in zip(world.queries, verdicts(world, config), strict=True):
        texts = [world.documents[d] for d in query.candidates]
        for row in lists:
            mine = [text for text, verdict in zip(texts, row, strict=True) if verdict == "keep"]
            assert len(mine) == len(set(mine))
            for place, verdict in enumerate(row):
                if verdict == "copy_of_negative":
                    before = [t for t, v in zip(texts[:place], row[:place], strict=True) if v == "keep"]
                    assert texts[place] in before


TIGHTENED = {
    "percent": ({"rule": "percent", "percent": 0.95}, {"rule": "percent", "percent": 0.8}),
    "margin": ({"rule": "margin", "margin": 0.05}, {"rule": "margin", "margin": 0.3}),
    "floor": ({"rule": "absolute", "min_score": -0.3}, {"rule": "absolute", "min_score": 0.1}),
    "ceiling": ({"rule": "absolute", "max_score": 0.5}, {"rule": "absolute", "max_score": 0.1}),
    "two_sided": ({"rule": "two_sided", "two_sided": 1.0}, {"rule": "two_sided", "two_sided": 0.1}),
    "guide": ({"rule": "guide"}, {"rule": "guide", "guide_margin": 0.3}),
    "multi_similarity": (
        {"rule": "multi_similarity", "multi_similarity": 0.3},
        {"rule": "multi_similarity", "multi_similarity": 0.05},
    ),
    "a guide too": ({"rule": "percent"}, {"rule": ["percent", "guide"]}),
    "positive similarity": ({"max_positive_similarity": 0.98}, {"max_positive_similarity": 0.4}),
    "query similarity": ({"max_query_similarity": 0.98}, {"max_query_similarity": 0.4}),
    "ranks": ({"ranks": (1, 8)}, {"ranks": (2, 5)}),
    "a second rule": ({"rule": "margin", "margin": 0.3}, {"rule": ["margin", "percent"], "margin": 0.3}),
}


@thorough
@given(
    name=st.sampled_from(sorted(TIGHTENED)),
    world=worlds(),
    anchor=st.sampled_from(["each", "min", "mean", "max", "quantile"]),
)
def test_a_stricter_setting_never_keeps_more_texts(name, world, anchor):
    # texts, not documents: where the first of two copies goes, the second may take its place
    def texts(change):
        found = kept(world, FilterConfig(**(LOOSE | change | {"anchor": anchor})))
        return {(row, place, world.documents[document]) for row, place, document in found}

    loose, strict = TIGHTENED[name]
    assert texts(strict) <= texts(loose) <= texts({})


@thorough
@given(name=st.sampled_from(sorted(TIGHTENED)), world=worlds())
def test_without_copies_a_stricter_setting_never_keeps_more_documents(name, world):
    apart = World(list(range(len(world.documents))), world.queries)
    loose, strict = TIGHTENED[name]
    assert kept(apart, FilterConfig(**(LOOSE | strict))) <= kept(apart, FilterConfig(**(LOOSE | loose)))


@given(worlds())
def test_a_lower_anchor_never_keeps_more(world):
    apart = World(list(range(len(world.documents))), world.queries)
    by_anchor = [kept(apart, FilterConfig(**(LOOSE | {"rule": "margin", "anchor": a}))) for a in ("min", "mean", "max")]
    assert by_anchor[0] <= by_anchor[1] <= by_anchor[2]


@given(worlds(min_queries=2), filter_configs(), st.integers(0, 4))
def test_a_batch_split_in_slices_of_its_table_gets_the_same_verdicts(world, config, cut):
    cut = min(cut, len(world.queries))
    table = world.table()
    first = verdicts(world, config, table.slice(0, cut), 0, cut)
    second = verdicts(world, config, table.slice(cut), cut, None)
    assert first + second == verdicts(world, config)


@given(worlds(min_queries=2), filter_configs(), st.data())
def test_the_order_of_queries_changes_no_verdict(world, config, data):
    order = data.draw(st.permutations(range(len(world.queries))))
    shuffled = World(world.documents, [world.queries[i] for i in order])
    expected = verdicts(world, config)
    assert verdicts(shuffled, config) == [expected[i] for i in order]


@given(worlds(), st.permutations(["absolute", "margin", "percent", "two_sided"]))
def test_the_order_of_rules_in_the_config_changes_no_verdict(world, names):
    settings = {"max_score": 0.5, "margin": 0.1, "percent": 0.8}
    found = verdicts(world, FilterConfig(rule=names, **settings))
    assert found == verdicts(world, FilterConfig(rule=["absolute", "margin", "percent", "two_sided"], **settings))


def one(positives, candidates, config, documents=None, **more):
    """Return the verdicts of a single query, best candidate first, one list an anchor."""
    world = World(documents or list(range(20)), [make_query(0, positives, candidates, **more)])
    return verdicts(world, config)[0]


def test_ragged_positives_1_2_1_get_their_own_anchors():
    candidates = {10: 0.70, 11: 0.50, 12: 0.30}
    world = World(
        list(range(20)),
        [
            make_query(0, {0: 0.60}, candidates),
            make_query(1, {1: 0.80, 2: 0.40}, candidates),
            make_query(2, {3: 0.90}, candidates),
        ],
    )
    no, yes = "margin", "keep"
    each = verdicts(world, FilterConfig(rule="margin", margin=0.05, anchor="each"))
    # lines: 0.55 | 0.75 and 0.35 | 0.85
    assert each == [[[no, yes, yes]], [[yes, yes, yes], [no, no, yes]], [[yes, yes, yes]]]
    lowest = verdicts(world, FilterConfig(rule="margin", margin=0.05, anchor="min"))
    assert lowest == [[[no, yes, yes]], [[no, no, yes]], [[yes, yes, yes]]]
    highest = verdicts(world, FilterConfig(rule="margin", margin=0.05, anchor="max"))
    assert highest == [[[no, yes, yes]], [[yes, yes, yes]], [[yes, yes, yes]]]
    middle = verdicts(world, FilterConfig(rule="margin", margin=0.05, anchor="mean"))
    # mean of the second: 0.6, line 0.55
    assert middle == [[[no, yes, yes]], [[no, yes, yes]], [[yes, yes, yes]]]


def test_one_noisy_positive_does_not_erase_its_query_under_each_and_does_under_min():
    good, noisy = 0.90, 0.05
    candidates = {10: 0.70, 11: 0.60, 12: 0.50}
    config = FilterConfig(rule="percent", percent=0.95, anchor="each")
    each = one({0: good, 1: noisy}, candidates, config)
    assert each == [["keep"] * 3, ["percent"] * 3]
    lowest = one({0: good, 1: noisy}, candidates, config.model_copy(update={"anchor": "min"}))
    assert lowest == [["percent"] * 3]


def test_a_positive_at_minus_0_50_does_not_keep_minus_0_49_at_95_percent():
    config = FilterConfig(rule="percent", percent=0.95)
    assert one({0: -0.50}, {10: -0.49, 11: -0.52, 12: -0.53}, config) == [["percent", "percent", "keep"]]


def test_each_verdict_is_given_and_earlier_ones_come_first():
    config = FilterConfig(
        rule=["percent", "margin", "absolute"], min_score=-0.5, margin=0.1, percent=0.8,
        max_positive_similarity=0.9, max_query_similarity=0.95, ranks=(4, 12),
    )  # fmt: skip
    documents = list(range(20))
    documents[2], documents[3], documents[12] = documents[0], 777, documents[11]
    scores = {
        0: 1.0,  # the positive; also outside the ranks, above the margin, near the positive
        1: 0.99,  # the sibling's; as bad otherwise
        2: 0.98,  # the positive's text
        3: 0.97,  # the query's text
        4: 0.96,  # cosine 0.95 to the positive, and 0.96 to the query
        5: 0.955,  # cosine to the query above 0.95
        6: 0.94,  # above the margin
        7: 0.85,  # below the margin's line of 0.9, above the percent's of 0.8
        11: 0.5,
        12: 0.5,  # the text of 11, which was kept
        8: 0.1,
        9: 0.0,
        10: -0.6,  # below the floor; also rank 13, outside the ranks
    }
    similar = {0: 1.0, 2: 1.0, 4: 0.95}
    query = make_query(0, {0: 1.0}, scores, siblings=[1], key=777)
    query.similarities[:] = [[f32(similar.get(d, 0.0))] for d in query.candidates]
    found = verdicts(World(documents, [query]), config)[0][0]
    assert dict(zip(query.candidates, found, strict=True)) == {
        0: "positive", 1: "sibling_positive", 2: "copy_of_positive", 3: "copy_of_query", 4: "near_copy_of_positive",
        5: "near_copy_of_query", 6: "margin", 7: "percent", 11: "keep", 12: "copy_of_negative", 8: "keep", 9: "keep",
        10: "outside_ranks",
    }  # fmt: skip
    later = config.model_copy(update={"ranks": (1, 99)})
    assert verdicts(World(documents, [query]), later)[0][0][-1] == "absolute"


def test_ranks_reject_before_the_rules_and_after_the_copies():
    config = FilterConfig(rule="margin", margin=0.0, ranks=(3, 5))
    assert one({0: 0.2}, {0: 0.2, 5: 0.9, 6: 0.8, 7: 0.1}, config) == [
        ["outside_ranks", "outside_ranks", "positive", "keep"]
    ]


def test_a_rejected_copy_does_not_count_as_the_better_ranked_one():
    # 10 and 11 are copies; 10 is rejected by the margin, so 11 is the first that is kept
    documents = list(range(20))
    documents[11] = documents[12] = documents[10]
    config = FilterConfig(rule="margin", margin=0.1)
    found = one({0: 0.8}, {10: 0.75, 11: 0.6, 12: 0.5}, config, documents)
    assert found == [["margin", "keep", "copy_of_negative"]]


def test_copies_are_counted_for_each_anchor_and_each_query_for_itself():
    documents = list(range(20))
    documents[11] = documents[10]
    candidates = {10: 0.6, 11: 0.5}
    world = World(documents, [make_query(0, {0: 0.9, 1: 0.56}, candidates), make_query(1, {2: 0.9}, candidates)])
    found = verdicts(world, FilterConfig(rule="margin", margin=0.05))
    keep, copy = "keep", "copy_of_negative"
    assert found == [[[keep, copy], ["margin", keep]], [[keep, copy]]]


def test_the_query_similarity_is_not_looked_at_where_scores_are_no_cosines():
    world = World(list(range(20)), [make_query(0, {0: 30.0}, {5: 20.0})])
    config = FilterConfig(rule="none")
    assert verdicts(world, config, cosine=True) == [[["near_copy_of_query"]]]
    assert verdicts(world, config, cosine=False) == [[["keep"]]]


def test_ties_with_the_anchor_are_kept_at_margin_0_and_rejected_at_any_other():
    for margin, expected in ((0.0, "keep"), (1e-6, "margin")):
        config = FilterConfig(rule="margin", margin=margin)
        assert one({0: 0.5}, {10: 0.5, 11: 0.5}, config) == [[expected, expected]]


def test_two_sided_by_hand_labelled_positives_do_not_count_in_mean_and_deviation():
    # scores of the others 0.6, 0.4: z = 1, -1; similarities 0.2, 0.6: z = -1, 1; the sums 0 and 0
    similar = [[1.0], [0.2], [0.6]]
    open_ends = {"rule": "two_sided", "max_positive_similarity": None, "max_query_similarity": None}
    scores = {0: 1.0, 10: 0.6, 11: 0.4}
    for limit, expected in ((0.001, "keep"), (-0.001, "two_sided")):
        config = FilterConfig(two_sided=limit, **open_ends)
        assert one({0: 1.0}, scores, config, similarities=similar) == [["positive", expected, expected]]
    # turned round, the first stands out on both sides: 2 and -2
    config = FilterConfig(two_sided=1.9, **open_ends)
    assert one({0: 1.0}, scores, config, similarities=[[1.0], [0.6], [0.2]]) == [["positive", "two_sided", "keep"]]


def test_guide_looks_at_its_own_scores_each_positive_s_own_and_reduced_as_the_anchor_is():
    # the teacher's scores of positives are turned round against the guide's
    query = make_query(
        0, {0: 0.9, 1: 0.3}, {10: 0.8, 11: 0.2, 12: 0.1}, guide_scores=[0.25, 0.75, 0.5], guide_positive_scores=[0.5, 1]
    )
    world = World(list(range(20)), [query])
    rejected = {
        "each": [[10, 12], [10, 11, 12]], "min": [[10, 12]], "max": [[10, 11, 12]], "mean": [[10, 11, 12]],
        "quantile": [[10, 12]],
    }  # fmt: skip
    for anchor, keeps in rejected.items():
        config = FilterConfig(rule="guide", anchor=anchor)
        expected = [["keep" if d in row else "guide" for d in query.candidates] for row in keeps]
        assert verdicts(world, config) == [expected], anchor
    # lines of the margin: 0.75 and 0.15; of the guide: 0.25 and 0.75. The margin comes first, whatever the list's order
    both = FilterConfig(rule=["guide", "margin"], margin=0.15, guide_margin=0.25)
    assert verdicts(world, both) == [[["margin", "guide", "guide"], ["margin", "margin", "keep"]]]


class StubScorer:
    """Gives each cell the probability of its candidate's row in percent, plus its anchor's number in thousandths."""

    threshold = 0.12

    def probabilities(self, batch, cells):
        return batch.candidates.values[cells.candidate] / 100 + cells.anchor / 1000


def test_calibrated_rejects_above_the_threshold_cell_by_cell_after_the_other_rules():
    world = World(list(range(20)), [make_query(0, {0: 0.9, 1: 0.8}, {10: 0.5, 11: 0.4, 12: 0.3, 13: 0.2, 14: 0.85})])
    config = FilterConfig(rule=["calibrated", "margin"], margin=0.03)
    # best first: 14, 10, 11, 12, 13; 12 is at the threshold for the first anchor and above it for the second
    assert verdicts(world, config, scorer=StubScorer()) == [
        [["calibrated", "keep", "keep", "keep", "calibrated"], ["margin", "keep", "keep", "calibrated", "calibrated"]]
    ]


def test_probabilities_are_given_wherever_there_is_a_model_and_decide_only_under_the_rule_calibrated():
    world = World(list(range(20)), [make_query(0, {0: 0.9}, {10: 0.5, 19: 0.4})])
    found = give_verdicts(world.batch(), FilterConfig(rule="margin"), world.keys(), StubScorer())
    assert found.probabilities.tolist() == [0.10, 0.19]
    assert found.keep.tolist() == [True, True]
    assert give_verdicts(world.batch(), FilterConfig(rule="margin"), world.keys()).probabilities is None


def test_a_rule_that_needs_a_model_says_so_where_none_is_given():
    with pytest.raises(ValueError, match="calibrated needs a model"):
        one({0: 0.9}, {10: 0.5}, FilterConfig(rule="auto"))


def test_a_query_without_candidates_has_empty_lists_between_its_neighbours():
    candidates = {10: 0.1}
    world = World(
        list(range(20)),
        [make_query(0, {0: 0.5}, candidates), make_query(1, {1: 0.5, 2: 0.6}, {}), make_query(2, {3: 0.5}, candidates)],
    )
    assert verdicts(world, FilterConfig(rule="percent")) == [[["keep"]], [[], []], [["keep"]]]


def test_multi_similarity_measures_from_the_lowest_positive_whatever_the_anchor():
    candidates = {10: 0.85, 11: 0.65, 12: 0.55}
    loose = {"rule": "multi_similarity", "max_positive_similarity": None, "max_query_similarity": None}
    rows = [["keep", "keep", "multi_similarity"]]
    assert one({0: 0.7}, candidates, FilterConfig(**loose)) == rows
    for anchor, times in (("each", 2), ("max", 1)):
        assert one({0: 0.95, 1: 0.7}, candidates, FilterConfig(**loose, anchor=anchor)) == rows * times


def test_a_rule_against_false_negatives_gives_its_verdict_before_multi_similarity():
    config = FilterConfig(rule=["multi_similarity", "percent"], multi_similarity=0.1)
    found = one({0: 0.7}, {10: 0.72, 11: 0.65, 12: 0.55}, config)
    assert found == [["percent", "keep", "multi_similarity"]]


def test_multi_similarity_is_counted_and_in_the_key_only_where_it_is_a_rule():
    used, unused = FilterConfig(rule=["percent", "multi_similarity"]), FilterConfig(multi_similarity=0.4)
    assert unused.semantic() == FilterConfig().semantic()
    assert used.semantic()["multi_similarity"] == 0.1
    assert "multi_similarity" not in countable_verdicts(unused)
    assert countable_verdicts(used.model_copy(update={"score": "checked"})) == NAMES
    assert "rescored" not in countable_verdicts(used)


def test_the_cross_encoder_rejects_what_the_rules_keep_where_it_scores_like_a_positive():
    world = World(
        list(range(20)), [make_query(0, {0: 0.9}, {10: 0.88, 11: 0.6, 12: 0.5, 13: 0.4, 14: 0.3}, judged=[13])]
    )
    batch = replace(world.batch(), cross_scores=np.array([0.9, 0.4, 0.1, 0.4, np.nan], dtype=np.float32))

    def names(**settings):
        config = FilterConfig(rule="percent", score="checked", **settings)
        return [NAMES[code] for code in give_verdicts(batch, config, world.keys(0, None, True)).codes]

    assert names() == ["percent", "rescored", "keep", "rescored", "keep"]
    assert names(check_percentile=0.4) == ["percent", "keep", "keep", "keep", "keep"]
    assert names(judged_negatives="keep") == ["percent", "rescored", "keep", "keep", "keep"]


def test_no_queries_get_no_verdicts():
    for anchor in ("each", "min", "quantile"):
        assert verdicts(World([1, 2], []), FilterConfig(rule="percent", anchor=anchor)) == []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("none", []),
        ("auto", ["percent", "calibrated"]),
        (["two_sided", "adaptive"], ["adaptive", "two_sided"]),
        ("margin", ["margin"]),
        (["percent", "absolute"], ["absolute", "percent"]),
        (["none"], []),
        (["margin", "margin"], ["margin"]),
    ],
)
def test_rules_are_named_in_the_order_in_which_they_judge(rule, expected):
    assert rule_names(FilterConfig(rule=rule)) == expected


def test_codes_number_the_verdicts_in_their_order_and_keep_is_0():
    assert [NAMES[code] for code in CODES.values()] == list(CODES) == NAMES
    assert CODES["keep"] == 0


@given(worlds(), filter_configs())
def test_keeping_judged_negatives_keeps_every_text_that_judging_them_keeps(world, config):
    def texts(how):
        found = kept(world, config.model_copy(update={"judged_negatives": how}))
        return {(row, place, world.documents[document]) for row, place, document in found}

    assert texts("judge") <= texts("keep")
    judged = {(q.row, world.documents[d]) for q in world.queries for d in q.judged}
    assert {(row, text) for row, _, text in texts("keep") - texts("judge")} <= judged


def test_neither_rule_nor_ranks_reject_a_judged_negative_to_be_kept_but_copies_and_positives_are():
    similar = {10: 0.1, 11: 0.1, 12: 0.99, 13: 0.1, 14: 0.1, 15: 0.1}
    scores = {10: 0.9, 11: 0.85, 12: 0.8, 13: 0.79, 14: 0.78, 15: 0.77}
    query = make_query(
        0, {0: 0.5}, scores, similarities=[[s] for s in similar.values()], siblings=[13],
        judged=[10, 12, 13, 14, 15],
    )  # fmt: skip
    documents = list(range(20))
    documents[14] = 0  # the positive's text
    documents[15] = documents[10]
    settings = {"rule": ["percent", "margin", "two_sided"], "two_sided": -9.0, "ranks": (50, 60)}
    keep = FilterConfig(**settings, judged_negatives="keep")
    assert verdicts(World(documents, [query]), keep) == [
        [["keep", "outside_ranks", "near_copy_of_positive", "sibling_positive", "copy_of_positive", "copy_of_negative"]]
    ]
    judge_them = FilterConfig(**settings)
    assert verdicts(World(documents, [query]), judge_them)[0][0].count("outside_ranks") == 3
    without_ranks = FilterConfig(**{**settings, "ranks": None, "rule": "percent"}, judged_negatives="keep")
    assert verdicts(World(documents, [query]), without_ranks)[0][0][:2] == ["keep", "percent"]
