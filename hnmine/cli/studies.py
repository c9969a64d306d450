"""Drawing what was tried with a mined set."""

from typing import Any

from rich.text import Text

from hnmine.cli.show import _console, _row, _table


def probed(data: dict[str, Any]) -> None:
    """Draw what a probe found: retrieval before and after training, and the gains with their p-values."""
    console = _console()
    table = _table("Probe", "vectors", "nDCG@10", "MRR@10")
    for name, meaning in (
        ("untrained", "as they are"),
        ("without_mined", "trained with the batch's own negatives"),
        ("with_mined", "trained with the run's negatives as well"),
    ):
        _row(table, (meaning, f"{data[name]['ndcg_at_10']:.4f}", f"{data[name]['mrr_at_10']:.4f}"))
    console.print(table)
    gains = _table("\nGain of the run's negatives", "over", "nDCG@10", "p", "MRR@10", "p")
    for name, meaning in (("untrained", "no training"), ("without_mined", "training without them")):
        gain = data[f"gain_over_{name}"]
        cells = (f"{gain['ndcg_at_10']:+.4f}", f"{gain['ndcg_p']:.4f}", f"{gain['mrr_at_10']:+.4f}")
        _row(gains, (meaning, *cells, f"{gain['mrr_p']:.4f}"))
    console.print(gains)
    tested = data["gain_over_untrained"]["test_queries"]
    counts = f"{data['queries']:,} queries, {data['documents']:,} documents, {data['seeds']} splits"
    limits = "A linear map on frozen vectors: compare sets by it; a fine-tuned model gains another amount."
    console.print(Text(f"\n{counts}, {tested:,} queries tested. {limits}"))


def exported(data: dict[str, Any]) -> None:
    """Say what was written to be judged, and what to do with it."""
    verdicts = ", ".join(f"{count:,} {name}" for name, count in data["verdicts"].items())
    text = (
        f"{data['written']:,} candidates of {data['queries']:,} queries, {data['chosen']:,} of them negatives now "
        f"({verdicts}); uncertainty: {data['uncertainty']}.\n"
        "Fill in judgement (relevant, irrelevant or unsure), set input.judgements to the file and run again."
    )
    _console().print(Text(text), soft_wrap=True)
