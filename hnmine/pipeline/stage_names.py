"""Names and summaries of the stages, without their code, so that `--help` imports none of it."""

SUMMARIES = {
    "ingest": "Read and check your files: corpus, queries and labels.",
    "embed": "Turn documents and queries into vectors.",
    "index": "Build an approximate index where it pays; otherwise search is exact.",
    "retrieve": "Find each query's best documents, with exact scores.",
    "rescore": "Score candidates again with the model of [rescore], such as a cross-encoder.",
    "hubs": "Normalise scores by how high a document scores for other queries.",
    "filter": "Give every candidate a verdict: keep, or the reason for rejecting it.",
    "emit": "Choose negatives and write training files.",
    "report": "Measure how hard, how safe and how complete the mined set is.",
}
"""By stage, in the order in which they run."""
