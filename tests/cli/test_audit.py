import json

import pytest

from tests.cli.support import hnmine
from tests.commands.audit import made


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A mined file with one false negative, whose text looks like markup."""
    rows = made.clean()
    rows[3]["pos"] = ["[bold red]" + rows[3]["pos"][0]]
    made.positive_as_negative(rows)
    return made.as_bge(rows, tmp_path_factory.mktemp("audit") / "mined")


def test_people_see_what_was_recognised_the_faults_and_what_to_do(mined):
    done = hnmine("audit", mined)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for part in ("Recognised: bge (anchor = 'query'", "faults: positive_as_negative", "remove them", "row 4",
                 "[bold red]", "no model was given"):  # fmt: skip
        assert part in done.stdout


def test_json_is_one_document_on_stdout_and_the_same_in_the_file(mined, tmp_path):
    done = hnmine("audit", mined, "--model", "hash", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["findings"]["positive_as_negative"]["count"] == 1
    assert data == json.loads((tmp_path / "out/audit.json").read_text())
    first = (tmp_path / "out/audit.json").read_bytes()
    again = hnmine("audit", mined, "--model", "hash", "--out", tmp_path / "out")
    assert f"written: {tmp_path / 'out/audit.json'}" in again.stderr
    assert again.stdout.startswith("Recognised: bge")
    assert (tmp_path / "out/audit.json").read_bytes() == first


@pytest.mark.parametrize(
    ("limit", "code", "message"),
    [
        (("--fail-over", "faults=0"), 7, "faults = 1 is over the limit 0"),
        (("--fail-over", "findings.positive_as_negative.share=0.5"), 0, ""),
        (("--fail-under", "eci=0.5"), 7, "eci could not be measured (no model was given: --model NAME)"),
        (("--fail-over", "findings.random_padding.share=0.5"), 7, "share could not be measured (no model was given)"),
        (("--fail-under", "coverage=0.5"), 0, ""),
        (("--fail-over", "fault=0"), 2, "did you mean faults?"),
        (("--fail-over", "faults"), 2, "NAME=NUMBER"),
    ],
)
def test_limits_set_the_exit_code(mined, limit, code, message):
    done = hnmine("audit", mined, *limit)
    assert done.returncode == code, done.stderr
    assert message in done.stderr


def test_what_cannot_be_read_ends_without_a_traceback(mined, tmp_path):
    (tmp_path / "m.csv").write_text("left,right\na,b\n")
    done = hnmine("audit", tmp_path / "m.csv", "--out", tmp_path / "out")
    assert done.returncode == 3
    assert "columns of no known shape" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert hnmine("audit", mined, "--model", "./none").returncode == 6
    assert hnmine("audit").returncode == 2


def test_a_limit_with_an_unknown_name_is_refused_before_the_files_are_read():
    done = hnmine("audit", "no-such-file", "--fail-over", "fault=0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean faults?" in done.stderr
