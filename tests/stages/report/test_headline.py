"""What the report's page and the terminal say of numbers that only some configs have."""

from hnmine.stages.report.headline import setting_rows


def test_rows_say_what_the_check_the_order_and_the_weights_did() -> None:
    spread = {"mean": 0.4, "min": 0.01, "max": 0.98765}
    report = {
        "checked": {"pairs": 2431, "pairs_per_query": 15.19, "rejected": 3187, "negatives_scored": 0.1116},
        "order": {"first_tenth_hardness": 0.1643, "last_tenth_hardness": 0.7333},
        "weights": {"focal": spread, "cluster": {**spread, "clusters": 19, "own_share": 0.226}},
    }
    found = {name: (value, note) for name, value, note in setting_rows(report)}
    assert found["candidates that the model of [rescore] scored"] == (
        "2,431",
        "15.2 a query, labelled positives among them",
    )
    assert found["verdicts changed by the check"][0] == "3,187"
    assert found["retrieved negatives that were checked"] == ("11.2%", "the others have no score")
    assert found["order of the rows by hardness"][0] == "0.164 to 0.733"
    assert found["focal_weight"] == ("0.400", "of an example, on average; from 0.010 to 0.988")
    assert found["cluster_weight"][1].endswith("22.6% of the negatives are in the cluster of their positive")


def test_sets_without_negatives_have_dashes_for_what_is_unknown() -> None:
    report = {
        "checked": {"pairs": 0, "pairs_per_query": None, "rejected": 0, "negatives_scored": None},
        "order": {"first_tenth_hardness": None, "last_tenth_hardness": None},
        "weights": {"cluster": {"count": 0, "clusters": 1, "own_share": None}},
    }
    assert [value for _, value, _ in setting_rows(report)] == ["0", "0", "-", "- to -", "-"]
    assert list(setting_rows({})) == []
