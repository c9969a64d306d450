"""Complete runs as mined sets: read from what the stages left behind, no config and no model needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.groups import distinct_pairs
from hnmine.arrays.ragged import Ragged, single_array
from hnmine.commands.compare.mined_set import Found, MinedSet, RunFacts
from hnmine.errors import IncompleteStage, Problems
from hnmine.pipeline.stages import STAGES
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.report.quality import headline_parts
from hnmine.storage.paths import path_of
from hnmine.storage.schemas.filter import JUDGED, KEEP
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import MANIFEST, STARTED, Shards, read_json

_READS = ("ingest", "filter", "emit")


def is_run(folder: Path) -> bool:
    """Tell whether a folder is a run's output folder, complete or not."""
    return any((folder / stage / name).exists() for stage in STAGES for name in (MANIFEST, STARTED))


def read_run(name: str, others: Sequence[Path]) -> MinedSet:
    """Return a run's mined set.

    Args:
        name: its output folder, as the user gave it.
        others: folders of other runs, whose stages are read where this one was made `--from` them.

    Raises:
        IncompleteStage: a stage is missing, or is not the one that the report was made from; all of them are named.
    """
    folders = _folders(name, others)
    report, manifest = path_of(name) / "report", read_json(path_of(name) / "report" / MANIFEST)
    chosen, judged = read_chosen(folders["emit"]), Shards(folders["filter"], JUDGED)
    corpus, queries = Shards(folders["ingest"] / "corpus", CORPUS), Shards(folders["ingest"] / "queries", QUERIES)
    rows, scores = (Ragged.from_arrow(chosen.column(part)) for part in ("doc_rows", "scores"))
    owners = chosen.column("query_row").to_numpy()[rows.owners]
    once = distinct_pairs(owners, rows.values)
    documents, owners = rows.values[once], owners[once]
    ids = corpus.take(documents, ["doc_id", "text_key"])
    facts = RunFacts(
        single_array(queries.column("query_id")),
        single_array(ids.column("doc_id")),
        read_json(report / "report.json"),
        headline_parts(report, chosen),
        manifest["upstream"]["embed"],
        int(read_json(folders["emit"] / MANIFEST)["parts"]["emit"]["num_negatives"]),
        Candidates(judged, corpus).look_up,
    )
    return MinedSet(
        name,
        queries.column("text_key").to_numpy(),
        owners,
        ids.column("text_key").to_numpy(),
        scores.values[once].astype(np.float64),
        _ranks(judged, chosen)[once],
        int(facts.report["shortage"]["examples"]),
        lambda at: queries.take(at, ["text"]).column(0).to_pylist(),
        lambda at: corpus.take(documents[at], ["text"]).column(0).to_pylist(),
        facts,
    )


def _folders(name: str, others: Sequence[Path]) -> dict[str, Path]:
    """Return the folders of the stages that the run's report was made from."""
    manifest = read_json(path_of(name) / "report" / MANIFEST)
    if manifest is None:
        raise IncompleteStage(f"{name}: the run is not complete; run `hnmine run` with its config first")
    if manifest.get("version") != STAGES["report"].version:
        raise IncompleteStage(
            f"{name}: its report was written by another version of hnmine; run `hnmine report --overwrite`"
        )
    problems, found = Problems(), {}
    for stage in _READS:
        key = manifest["upstream"][stage]
        places = [root / stage for root in (path_of(name), *others)]
        fitting = [place for place in places if (read_json(place / MANIFEST) or {}).get("key") == key]
        if fitting:
            found[stage] = fitting[0]
        elif (path_of(name) / stage / MANIFEST).exists():
            problems.add(f"{name}: {stage} was made anew after the report; run `hnmine report --overwrite`")
        else:
            problems.add(f"{name}: reads {stage} of another run; name that run too, or give its folder with --from")
    problems.raise_if_any(IncompleteStage)
    return found


def _ranks(judged: Shards, chosen: pa.Table) -> np.ndarray:
    """Return the rank of each chosen negative, NaN for what is no candidate."""
    positions = Ragged.from_arrow(chosen.column("positions"))
    owners = chosen.column("query_row").to_numpy()[positions.owners]
    out = np.full(len(owners), np.nan)
    for number in range(len(judged)):
        first, last = judged.offsets[number : number + 2]
        ranks = Ragged.from_arrow(judged.read(number, ["ranks"]).column(0))
        low, high = np.searchsorted(owners, [first, last])
        own = low + np.flatnonzero(positions.values[low:high] >= 0)
        out[own] = ranks.values[ranks.starts[owners[own] - first] + positions.values[own]]
    return out


@dataclass(frozen=True)
class Candidates:
    """The judged candidates of a run, to look documents up in."""

    judged: Shards
    corpus: Shards

    def look_up(self, owners: np.ndarray, doc_ids: pa.Array) -> Found:
        """Return what became of each document for its query.

        Args:
            owners: int64, rows of queries.
            doc_ids: string, one each.
        """
        places = pc.index_in(doc_ids, value_set=single_array(self.corpus.column("doc_id")))
        rows = pc.fill_null(places, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        fates = np.where(rows < 0, "not in its corpus", "not retrieved").astype(object)
        scores, ranks = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        for number in range(len(self.judged)):
            first, last = self.judged.offsets[number : number + 2]
            own = np.flatnonzero((owners >= first) & (owners < last) & (rows >= 0))
            if not len(own):
                continue
            table = self.judged.read(number, ["doc_rows", "scores", "ranks", "verdicts"])
            lists = Ragged.from_arrow(table.column("doc_rows"))
            at, hit = lists.find(owners[own] - first, rows[own])
            own, at = own[hit], at[hit]
            for name, out in (("scores", scores), ("ranks", ranks)):
                out[own] = Ragged.from_arrow(table.column(name)).values[at]
            fates[own] = _verdicts(table, lists, at)
        return Found(fates, scores, ranks)


def _verdicts(table: pa.Table, lists: Ragged, at: np.ndarray) -> Any:
    """Return what became of candidates: kept where any anchor's filter kept it, else the first anchor's verdict."""
    column = table.column("verdicts").combine_chunks()
    of_anchors = column.flatten()
    outer, inner = (part.offsets.to_numpy().astype(np.int64) for part in (column, of_anchors))
    outer, inner, names = outer - outer[0], inner - inner[0], of_anchors.flatten()
    query = lists.owners[at]
    anchors = Ragged(np.arange(len(of_anchors)), outer).take(query)
    spots = inner[anchors.values] + (at - lists.starts[query])[anchors.owners]
    found = names.take(pa.array(spots))
    kept = np.bincount(anchors.owners[pc.equal(found, KEEP).to_numpy(zero_copy_only=False)], minlength=len(at)) > 0
    first = found.take(pa.array(anchors.starts)).to_numpy(zero_copy_only=False)
    return np.where(kept, "kept, not chosen", "rejected: " + first.astype(object))
