from hnmine.commands.audit.audit import Request, audit
from hnmine.commands.audit.number_names import audit_number_names
from hnmine.pipeline.run import run
from hnmine.stages.report.limits import report_numbers
from tests.commands.audit import made
from tests.support import config_for, make_collection


def test_every_number_of_an_audit_can_have_a_limit_and_no_other_name(tmp_path):
    make_collection(tmp_path)
    run(config_for(tmp_path, emit={"extra_columns": ["positive_score", "negative_score"]}))
    plain = made.as_bge(made.clean(), tmp_path / "mined")
    corpus, queries, qrels = ([str(tmp_path / name)] for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"))
    requests = (
        Request((str(plain),)),
        Request((str(plain),), None, None, None, "hash"),
        Request((str(tmp_path / "out/emit"),), corpus, queries, qrels, "hash"),
    )
    numbers = {name for request in requests for name in report_numbers(audit(request))} - {"model"}
    assert numbers == audit_number_names()
