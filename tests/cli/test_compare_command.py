import json

from tests.cli.support import hnmine
from tests.support import make_collection, write_jsonl

TOML = (
    'out = "one"\n[input]\ncorpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = "qrels.tsv"\n'
    '[embed]\nmodel = "hash"\n[retrieve]\ntop_k = 10\nmax_top_k = 10\n'
    '[filter]\nrule = "percent"\n[emit]\nnum_negatives = 3\n'
)


def test_compare_draws_for_people_and_prints_json_only_when_asked(tmp_path):
    make_collection(tmp_path)
    (tmp_path / "hnmine.toml").write_text(TOML)
    assert hnmine("run", "hnmine.toml", cwd=tmp_path).returncode == 0
    other = ("--out", "two", "--from", "one", "--set", "filter.percent=0.7")
    assert hnmine("run", "hnmine.toml", *other, cwd=tmp_path).returncode == 0

    shown = hnmine("compare", "one", "two", "--examples", 1, "--html", "page.html", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "written: page.html\n")
    for part in ("A = one (run)", "B against A", "95% interval, paired", "eci_sem", "Jaccard"):
        assert part in shown.stdout
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")

    fates = json.loads(hnmine("compare", "one", "two", "--json", cwd=tmp_path).stdout)["comparisons"][0]["only_base"]
    listed = "; ".join(f"{count:,} {fate}" for fate, count in fates["fates"].items())
    assert f"those in A alone, in B: {listed}\n" in shown.stdout
    assert listed in page

    data = json.loads(hnmine("compare", "one", "two", "--json", cwd=tmp_path).stdout)
    assert [one["kind"] for one in data["sets"]] == ["run", "run"]
    assert data["comparisons"][0]["numbers"]["fill"]["difference"] < 0

    alone = hnmine("compare", "two", "one/nothing", cwd=tmp_path)
    assert alone.returncode == 3
    assert "one/nothing: no such file" in alone.stderr
    assert "reads ingest of another run" in alone.stderr
    assert "Traceback" not in alone.stderr


def test_compare_takes_texts_as_they_are(tmp_path):
    rows = [{"anchor": "[bold red]q[/] %s", "positive": "p", "negative": text} for text in ("[link=x]n[/]", "m")]
    write_jsonl(tmp_path / "a.jsonl", rows[:1])
    write_jsonl(tmp_path / "b.jsonl", rows[1:])
    shown = hnmine("compare", "a.jsonl", "b.jsonl", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "[bold red]q[/] %s" in shown.stdout
    assert "[link=x]n[/]" in shown.stdout
    assert "plain files have no report: only the sets are compared" in shown.stdout
    one = hnmine("compare", "a.jsonl", cwd=tmp_path)
    assert one.returncode == 2
    assert "two sets or more" in one.stderr


def test_compare_draws_three_negatives_of_each_set_and_says_how_many_there_are(tmp_path):
    for name, count in (("a", 5), ("b", 2)):
        rows = [{"anchor": "q", "positive": "p", "negative": f"{name}{number}"} for number in range(count)]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    shown = hnmine("compare", "a.jsonl", "b.jsonl", cwd=tmp_path).stdout
    drawn = [line.split()[-1] for line in shown.splitlines() if line.startswith(("A  ", "B  "))]
    assert [text for text in drawn if text[0] in "ab"] == ["a0", "a1", "a2", "b0", "b1"]
    assert "2 more in --json and --html\n" in shown
