"""Report and audit of one run agree on the share of negatives at or above their positive, and on its limit."""

from collections import Counter
from pathlib import Path

import pytest

from hnmine.commands.audit.audit import Request, audit
from hnmine.commands.audit.findings import KINDS
from hnmine.pipeline.run import run
from hnmine.stages.report.headline import AT_OR_ABOVE, NUMBERS
from tests.pipeline.helpers import emitted, report
from tests.support import config_for, make_collection

EXTRA = ["query_id", "positive_id", "positive_score", "negative_score"]
CASES = {
    "none": {"filter": {"rule": "none"}},
    "auto": {"filter": {"rule": "auto"}},
    "max": {"filter": {"rule": "percent", "percent": 1.0, "anchor": "max"}},
    "easiest": {"filter": {"rule": "percent", "easiest": 0.5}},
    "random": {"filter": {"rule": "none"}, "emit": {"choose": "mixed", "random_share": 0.5}},
    "left-out": {"filter": {"rule": "none", "bad_positive_quantile": 0.9}, "emit": {"bad_positives": "leave_out"}},
    "margin": {"filter": {"rule": "percent", "percent": 0.95}, "retrieve": {"max_top_k": 10}},
}


@pytest.mark.parametrize("case", CASES)
def test_report_and_audit_show_the_same_share(tmp_path: Path, case: str) -> None:
    tables = CASES[case] | {"emit": CASES[case].get("emit", {}) | {"extra_columns": EXTRA}}
    run(config_for(make_collection(tmp_path), **tables))
    found, audited = report(tmp_path / "out"), audit(Request((str(tmp_path / "out"),)))
    entry = audited["findings"][AT_OR_ABOVE]
    assert entry["share"] == pytest.approx(found[AT_OR_ABOVE])
    low, high = found["intervals"][AT_OR_ABOVE]
    assert low <= found[AT_OR_ABOVE] <= high
    assert (found[AT_OR_ABOVE] > 0) == (case not in ("margin", "left-out"))
    faulted = AT_OR_ABOVE in [reason["number"] for reason in found["conclusion"]["reasons"]]
    assert entry["fault"] == faulted


@pytest.mark.parametrize("anchor", ["each", "max"])
def test_a_document_serves_once_a_query_in_both(tmp_path: Path, anchor: str) -> None:
    run(config_for(make_collection(tmp_path), filter={"rule": "none", "anchor": anchor}))
    found, audited = report(tmp_path / "out")["hubs"], audit(Request((str(tmp_path / "out"),)))["hubs"]
    pairs = {(row["anchor"], row["negative"]) for row in emitted(tmp_path / "out")}
    served = Counter(negative for _, negative in pairs)
    assert found["most_served"] == max(served.values())
    assert found["documents"] == len(served)
    assert {name: found[name] for name in audited} == audited


def test_both_have_one_limit() -> None:
    limits = {kind.name: kind.limit for kind in KINDS}
    own = next(number for number in NUMBERS if number.name == AT_OR_ABOVE)
    assert limits[AT_OR_ABOVE] == limits["model_at_or_above_positive"] == own.flaw
