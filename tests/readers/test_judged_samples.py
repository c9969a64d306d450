"""Files of judged samples: any table format, judges, lines that are passed over, and all faults at once."""

import pytest

from hnmine.config.file import check_config
from hnmine.errors import InputError
from hnmine.readers.judged_samples import sample_files, sampled_judgements
from hnmine.storage.input_files import TABLE_ENDINGS, find_sources
from tests.support import write_jsonl

LINE = {"query_id": "q1", "doc_id": "d1", "judgement": "relevant", "sample": "ab-2-0", "stratum": 1, "stratum_size": 9}


def config_of(folder, *names):
    raw = {
        "input": {"corpus": "c.jsonl", "queries": "q.jsonl", "qrels": "r.tsv"},
        "report": {"judged_sample": list(names)} if names else {},
    }
    return check_config(raw, "test", folder)


def test_lines_of_tables_and_of_json_are_the_same(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [LINE, LINE | {"doc_id": 7, "judgement": None}])
    (tmp_path / "b.csv").write_text(
        "doc_id,query_id,judgement,sample,stratum,stratum_size\nd1,q1,RELEVANT,ab-2-0,1,9\n7,q1,,ab-2-0,1,9\n"
    )
    found = [sampled_judgements(config_of(tmp_path, name), []) for name in ("a.jsonl", "b.csv")]
    fields = [[one._replace(judge="", location=None) for one in lines] for lines in found]
    assert fields[0] == fields[1]
    assert [one.judgement for one in found[0]] == ["relevant", ""]
    assert {one.judge for one in found[0]} != {one.judge for one in found[1]}  # the files tell judges apart


def test_a_judge_is_named_by_its_field(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [LINE | {"judge": "Ada"}])
    assert sampled_judgements(config_of(tmp_path, "a.jsonl"), [])[0].judge == "Ada"


def test_judgement_files_may_have_other_lines_and_a_file_named_twice_is_read_once(tmp_path):
    other = {"query_id": "q2", "doc_id": "d2", "judgement": "irrelevant"}
    write_jsonl(tmp_path / "a.jsonl", [LINE, other])
    (tmp_path / "plain.tsv").write_text("query_id\tdoc_id\tjudgement\nq2\td2\t0\n")
    files = find_sources(["a.jsonl", "plain.tsv"], tmp_path, "input.judgements", TABLE_ENDINGS)
    assert len(sampled_judgements(config_of(tmp_path), files)) == 1
    write_jsonl(tmp_path / "a.jsonl", [LINE])
    assert len(sampled_judgements(config_of(tmp_path, "a.jsonl"), files)) == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"stratum": 0}, "stratum"),
        ({"stratum_size": "many"}, "stratum_size"),
        ({"sample": ""}, "sample"),
        ({"query_id": None}, "query_id"),
        ({"doc_id": 1.5}, "doc_id"),
        ({"judgement": "perhaps"}, "judgement"),
    ],
)
def test_a_line_that_was_changed_is_named_with_what_is_wrong(tmp_path, change, fault):
    write_jsonl(tmp_path / "a.jsonl", [LINE, LINE | change])
    with pytest.raises(InputError) as raised:
        sampled_judgements(config_of(tmp_path, "a.jsonl"), [])
    assert f"line 2: {fault}: not as" in str(raised.value)


def test_all_faults_of_all_files_are_named_at_once(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [LINE, LINE | {"sample": "cd-2-0"}])
    (tmp_path / "b.csv").write_text("query_id,doc_id,judgement\nq1,d1,1\n")
    with pytest.raises(InputError) as raised:
        sampled_judgements(config_of(tmp_path, "a.jsonl", "b.csv"), [])
    assert "lines of 2 samples" in str(raised.value)
    assert "no field sample, stratum, stratum_size" in str(raised.value)
    with pytest.raises(InputError, match=r"report\.judged_sample"):
        sample_files(config_of(tmp_path, "none.jsonl"))
