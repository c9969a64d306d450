"""Names and summaries of the stages, without their code, so that `--help` imports none of it."""

SUMMARIES = {
    "ingest": "Read your files into a canonical corpus and queries.",
    "embed": "Turn documents and queries into vectors.",
    "index": "Build an approximate index, or settle on exact search.",
    "retrieve": "Find each query's best documents, with exact scores.",
    "rescore": "Score each query's best candidates again with a cross-encoder.",
    "hubs": "Normalise scores by how high a document scores for other queries.",
    "filter": "Give every candidate a verdict.",
    "emit": "Choose negatives and write training files.",
    "report": "Measure how hard, how safe and how complete the mined set is.",
}
"""By stage, in the order in which they run."""
