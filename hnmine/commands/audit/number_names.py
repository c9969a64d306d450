"""The names that numbers of an audit can have, known before it is made: `--fail-under` and `--fail-over`.

A test compares them with the numbers of audits, in both directions.
"""

from collections.abc import Iterator

from hnmine.commands.audit.findings import KINDS
from hnmine.stages.report.number_names import SUMMARY, named

_GROUPS = {
    "": "capacity coverage eci faults hardness safety",
    "biases": "examples",
    "biases.length": "effect negative positive",
    "biases.query_overlap": "effect negative positive",
    "collection": "documents_in_corpus queries_in_qrels",
    "counts": "documents examples negatives positives queries rows usual_negatives",
    "hubs": "documents most_served top_percent_share",
    **{
        f"{group}.{name}": SUMMARY
        for group in ("distributions", "file_scores")
        for name in ("positive_score", "negative_score", "margin")
    },
}


def audit_number_names() -> set[str]:
    """Return the names that numbers of an audit can have, nested ones dotted; not every audit has all of them."""
    return {*named(_GROUPS.items()), *_of_findings()}


def _of_findings() -> Iterator[str]:
    for kind in KINDS:
        numbers = "count total share limit" + (" effect" if kind.name.endswith("_bias") else "")
        yield from named([(f"findings.{kind.name}", numbers)])
