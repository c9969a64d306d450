"""Lines that `hnmine judge` wrote and somebody may have changed."""

import json

import pytest

from hnmine.readers.judge_lines import read_judge_lines
from hnmine.storage.input_files import find_sources

LINE = '{"query_id": "q", "doc_id": "d", "judgement": "relevant", "judge": "m", "template": "grades", "request": "r"'


@pytest.mark.parametrize(("value", "read"), [("0.5", 0.5), ("NaN", 0.0), ("1e999", 0.0), (f"1{'0' * 400}", 0.0)])
def test_a_judging_value_that_is_no_number_counts_as_none_and_can_be_written_again(tmp_path, value, read):
    (tmp_path / "judged.jsonl").write_text(f'{LINE}, "value": {value}}}\n')
    (line,) = read_judge_lines(find_sources("judged.jsonl", tmp_path, "--again", (".jsonl",))[0])
    assert line.value == read
    json.dumps(line.fields, allow_nan=False)
