"""The trainer's batches are those of batch_id, by the sampler of docs/batches.md."""

import re

import pytest

from hnmine import row_batches, run
from tests.pipeline.tiny import part_of_sentence_transformers, save_tiny_bert
from tests.support import ROOT, config_for, make_collection


def test_rows_of_batches():
    assert row_batches([1, 0, 1, 0]) == [[1, 3], [0, 2]]
    assert row_batches([0, 0, 0, 1], ["a", "a", "b", "c"]) == [[0, 2], [1], [3]]


@pytest.mark.model
def test_the_trainers_batches_are_those_of_the_column(tmp_path, monkeypatch):
    pytest.importorskip("sentence_transformers", reason="trains with it")
    import datasets
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

    losses = part_of_sentence_transformers("losses")
    make_collection(tmp_path)
    filter_ = {"rule": "none", "max_positive_similarity": None}
    run(config_for(tmp_path, emit={"format": "n-tuple", "batch_size": 4}, filter=filter_))
    files = str(tmp_path / "out/emit/part-*.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    ids, anchors = rows["batch_id"][:], rows["anchor"][:]
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/batches.md").read_text()
    names = {"rows": rows}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], names)
    save_tiny_bert(tmp_path / "model")
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    names["arguments"].report_to = []
    trainer = SentenceTransformerTrainer(
        model=model,
        args=names["arguments"],
        train_dataset=names["rows"],
        loss=losses.MultipleNegativesRankingLoss(model),
    )
    found = list(trainer.get_train_dataloader().batch_sampler)
    expected = [[row for row, own in enumerate(ids) if own == number] for number in sorted(set(ids))]
    assert [list(batch) for batch in found] == expected
    assert len(expected) > 2
    assert len(anchors) == len(names["rows"])
