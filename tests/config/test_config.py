"""Config files: everything that is wrong is said at once, with file and key."""

import re
from pathlib import Path
from typing import Any

import pytest

from hnmine.config.file import load_config
from hnmine.errors import ConfigError

INPUT = '[input]\ncorpus = "c.jsonl"\nqueries = "q.jsonl"\nqrels = "r.tsv"\n'


def write(folder: Path, text: str) -> Path:
    file = folder / "hn.toml"
    file.write_text(text, encoding="utf-8")
    return file


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    file = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, overrides)
    return [line.replace(f"{file}: ", "FILE ") for line in str(caught.value).splitlines()]


def test_unknown_keys_suggest_the_near_one(tmp_path: Path) -> None:
    text = f'seeed = 1\nzzz = 1\n{INPUT}[input.columns]\ndocid = "x"\n[filter]\npercnt = 0.9\n[retreive]\ntop_k = 1\n'
    lines = problems(tmp_path, text)
    assert "FILE seeed: unknown key; did you mean seed?" in lines
    assert "FILE retreive: unknown key; did you mean retrieve?" in lines
    assert "FILE filter.percnt: unknown key; did you mean percent?" in lines
    assert "FILE input.columns.docid: unknown key; did you mean doc_id?" in lines
    known = next(line for line in lines if line.startswith("FILE zzz"))
    assert known.startswith("FILE zzz: unknown key; known keys: seed, out, shard_rows, ")
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = 1.5", "seed: input should be a valid integer (given: 1.5)"),
        ("seed = true", "seed: input should be a valid integer (given: True)"),
        ('seed = "1"', "seed: input should be a valid integer (given: '1')"),
        ("out = 3", "out: input should be a valid string (given: 3)"),
        ('out = " "', "out: string should have at least 1 character (given: ' ')"),
        ("shard_rows = 300", "shard_rows: input should be a multiple of 256 (given: 300)"),
        ("shard_rows = 0", "shard_rows: input should be greater than or equal to 256 (given: 0)"),
        ("workers = 0", "workers: input should be greater than or equal to 1 (given: 0)"),
        ('memory = "lots"', "memory: 'lots' is not a size; write for example 4GB or 512MiB"),
        ("[retrieve]\ntop_k = true", "retrieve.top_k: input should be a valid integer (given: True)"),
        ("[retrieve]\ntop_k = 0", "retrieve.top_k: input should be greater than or equal to 1 (given: 0)"),
        ("[filter]\npercent = 1.5", "filter.percent: input should be less than or equal to 1 (given: 1.5)"),
        ("[filter]\nguide_margin = -1", "filter.guide_margin: input should be greater than or equal to 0 (given: -1)"),
        ("[guide]\nmodel = 1", "guide.model: input should be a valid string (given: 1)"),
        ("[guide]\nmodl = 'x'", "guide.modl: unknown key; did you mean model?"),
        ("[filter]\nmax_score = inf", "filter.max_score: input should be a finite number (given: inf)"),
        ("[filter]\nmin_score = nan", "filter.min_score: input should be a finite number (given: nan)"),
        ("[report]\nfail_under = {eci = nan}", "report.fail_under: input should be a finite number (given: nan)"),
        ("[embed]\ntrust_remote_code = 1", "embed.trust_remote_code: input should be a valid boolean (given: 1)"),
        ("[embed]\ndtype = 'int8'", "embed.dtype: input should be 'float32' or 'float16' (given: 'int8')"),
        ("[emit]\nextra_columns = ['rank', 'rnk']", "emit.extra_columns: input should be 'query_id', "),
        (
            "[embed]\ncommand = 'python x.py'",
            "embed.command: input should be a valid list (given: 'python x.py'); write it as a list, such as "
            '["python", "x.py"]',
        ),
        ("engine = []", "engine: input should be 'auto', 'inline', 'pool' or 'ray' (given: [])"),
        ('out = "a\\u0000b"', "out: value error, a NUL character is in no name or path (given: 'a\\x00b')"),
        ("[embed]\ncommand_timeout = 1e300", "embed.command_timeout: input should be less than or equal to 1000000"),
        ("workers = 9223372036854775808", "workers: input should be less than or equal to 65536"),
        ("shard_rows = 9223372036854775808", "shard_rows: input should be less than or equal to 1073741824"),
        ("[emit]\nstrata = 9223372036854775808", "emit.strata: input should be less than or equal to 1073741824"),
        (
            "[emit]\nbatch_size = 9223372036854775808",
            "emit.batch_size: input should be less than or equal to 1073741824",
        ),
        (f"seed = '{'x' * 999}'", f"seed: input should be a valid integer (given: '{'x' * 196}...)"),
        ("filter = 3", "filter: input should be a valid dictionary or instance of FilterConfig (given: 3)"),
    ],
)
def test_wrong_values(tmp_path: Path, text: str, message: str) -> None:
    (line,) = problems(tmp_path, f"{text}\n{INPUT}" if not text.startswith("[") else f"{INPUT}{text}\n")
    assert line.startswith(f"FILE {message}")


def test_a_wrong_value_of_several_possible_types_is_one_problem(tmp_path: Path) -> None:
    lines = problems(tmp_path, INPUT.replace('"c.jsonl"', "5") + '[filter]\nrule = "percnt"\n')
    assert len(lines) == 2
    assert lines[0] == "FILE input.corpus: input should be a valid string (given: 5)"
    assert lines[1].startswith("FILE filter.rule: input should be 'auto', 'none', 'absolute', 'margin'")
    assert lines[1].endswith("(given: 'percnt'); did you mean 'percent'?")


def test_a_wrong_value_in_a_list_is_one_problem_with_the_nearest_value(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, INPUT + '[filter]\nrule = ["percent", "two-sided"]\n')
    assert line.endswith("(given: 'two-sided'); did you mean 'two_sided'?")


def test_an_address_that_may_hold_a_key_is_repeated_by_no_message(tmp_path: Path) -> None:
    lines = problems(tmp_path, INPUT + '[embed]\nmodel = "ftp://host/v1?key=secret"\ntimeout = 5.0\nretries = 1\n')
    assert lines[1].startswith(
        "FILE embed.timeout, retries: only for a model that a server computes, and embed.model is"
    )
    assert "secret" not in "".join(lines)


CONTRADICTIONS: list[tuple[str, str]] = [
    (
        f'{INPUT}[filter]\nscore = "hub_normalised"\n[emit]\nformat = "distillation"\nfallback = "random"\n',
        'emit.format: "distillation" writes hub-normalised scores (filter.score = "hub_normalised"), which random '
        'documents lack; set emit.choose to "stratified" or another way that draws none and emit.fallback to "none"',
    ),
    (
        f'{INPUT}[judge]\nmodel = "gpt-9"\n',
        "judge.model: 'gpt-9' is no address of a server, such as \"http://localhost:8000/v1\"",
    ),
    (
        f'{INPUT}[judge]\nmodel = "htp://host?key=secret"\n',
        'judge.model: no address of a server, such as "http://localhost:8000/v1"',
    ),
    (
        f'{INPUT}[guide]\nmodel = "http://host\\n:80/v1"\n',
        "guide.model: the address is not an address such as http://localhost:8000/v1",
    ),
    (
        f'{INPUT}[judge.second]\nmodel = "https://me:secret@host/v1"\n',
        "judge.second.model: the address holds a user name or a password; name the environment variable with the key "
        "in api_key_env",
    ),
    (
        f'{INPUT}[embed]\nmodel = "ftp://me:secret@host/v1"\n',
        "embed.model: neither the name nor the path of a model; a model that a server computes is named by an address "
        "that begins with http:// or https://, in [embed], [guide], a source's teacher or [rescore]",
    ),
    (
        f'{INPUT}[[retrieve.source]]\nkind = "sparse"\nencoder = {{model = "http://me:secret@host/v1"}}\n',
        "retrieve.source.0.encoder.model: neither the name nor the path of a model; a model that a server computes is "
        "named by an address that begins with http:// or https://, in [embed], [guide], a source's teacher or "
        "[rescore]",
    ),
    (
        f"{INPUT}[judge.request]\nstream = true\nn = 2\n",
        "judge.request: n, stream: set by other settings; leave it out",
    ),
    (
        f'{INPUT}[judge.request]\nmax_completion_tokens = "many"\n',
        "judge.request: max_completion_tokens: a whole number from 1 expected (given: 'many')",
    ),
    (
        f"{INPUT}[judge.second.request]\nday = 2026-01-01\n",
        "judge.second.request: day: 2026-01-01 cannot be sent as JSON",
    ),
    ("", "input: nothing to read; give corpus, queries and qrels, or beir, or pairs"),
    ('[input]\ncorpus = "c"\n', "input: queries and qrels missing (corpus, queries and qrels go together)"),
    (f'{INPUT}beir = "b"\n', "input.beir: a BEIR folder already has corpus, queries and qrels; leave the others out"),
    (
        '[input]\npairs = "p"\nqrels = "r"\n',
        "input.pairs: pairs already have queries and positives; leave out input.qrels",
    ),
    (
        '[input]\npairs = "p"\nsplit = "train"\n',
        "input.split: pairs have no splits; leave it out, or keep the pairs of one split in a file of its own",
    ),
    (
        f'{INPUT}[embed]\nmodel = "precomputed"\nquery_vectors = "q.npy"\n',
        'embed.corpus_vectors: needed with embed.model = "precomputed"',
    ),
    (
        f'{INPUT}[embed]\nmodel = "hash"\nquery_vectors = "q.npy"\n',
        "embed.query_vectors: given, but embed.model is 'hash'; set embed.model = \"precomputed\"",
    ),
    (
        f'{INPUT}[guide]\nmodel = "precomputed"\nquery_vectors = "q.npy"\n',
        'guide.corpus_vectors: needed with guide.model = "precomputed"',
    ),
    (
        f'{INPUT}[guide]\nmodel = "hash"\nquery_vectors = "q.npy"\n',
        "guide.query_vectors: given, but guide.model is 'hash'; set guide.model = \"precomputed\"",
    ),
    (
        f"{INPUT}[guide]\nbatch_size = 8\n",
        "guide: the same model and settings as [embed], so it gives the same scores; name another teacher",
    ),
    (
        f'{INPUT}[[retrieve.source]]\nkind = "dense"\nname = "other"\nteacher = {{ batch_tokens = 512 }}\n',
        "retrieve.source.0.teacher: the same model and settings as [embed]; leave it out, and the source uses that "
        "teacher",
    ),
    (
        f'{INPUT}[filter]\nrule = ["percent", "guide"]\n',
        'filter.rule: "guide" needs a second teacher; add a table [guide] with its model',
    ),
    (
        f'{INPUT}[emit]\nextra_columns = ["guide_score"]\n',
        "emit.extra_columns: guide_score needs a second teacher; add a table [guide] with its model",
    ),
    (f"{INPUT}[filter]\nrule = []\n", 'filter.rule: an empty list; write "none" to keep everything'),
    (f'{INPUT}[filter]\nrule = ["none", "margin"]\n', 'filter.rule: "none" cannot be combined with other rules'),
    (f'{INPUT}[filter]\nrule = "absolute"\n', 'filter.rule: "absolute" needs filter.min_score or filter.max_score'),
    (
        f"{INPUT}[filter]\nmin_score = 0.9\nmax_score = 0.1\n",
        "filter.min_score: 0.9 is above filter.max_score 0.1; nothing could be kept",
    ),
    (f"{INPUT}[filter]\nranks = [0, 5]\n", "filter.ranks: [0, 5] must be [first, last] with 1 <= first <= last"),
    (f"{INPUT}[filter]\nranks = [9, 5]\n", "filter.ranks: [9, 5] must be [first, last] with 1 <= first <= last"),
    (
        f"{INPUT}[filter]\nranks = [50, 60]\n[retrieve]\ntop_k = 20\n",
        "filter.ranks: starts at 50, but only retrieve.top_k = 20 candidates are retrieved",
    ),
    (
        f"{INPUT}[emit]\nnum_negatives = 30\nchoose = 'top'\n[retrieve]\ntop_k = 20\n",
        "emit.num_negatives: 30 wanted, but only retrieve.top_k = 20 candidates are retrieved",
    ),
    (
        f'{INPUT}[emit]\nchoose = "mixed"\nnum_negatives = 3\nrandom_share = 0.1\n',
        "emit.random_share: 0.1 of 3 negatives rounds to 0; raise emit.num_negatives, or set 0 if that is meant",
    ),
    (
        f'{INPUT}[emit]\nchoose = "mixed"\nnum_negatives = 3\nrandom_share = 0.9\n',
        "emit.random_share: 0.9 of 3 negatives rounds to 3; raise emit.num_negatives, or set 1 if that is meant",
    ),
    (
        f'{INPUT}[emit]\nchoose = "mixed"\nnum_negatives = 50\nrandom_share = 0.2\n[retrieve]\ntop_k = 39\n',
        "emit.num_negatives: 50 wanted, 40 of them no random documents, but only retrieve.top_k = 39 "
        "candidates are retrieved",
    ),
    (
        f'{INPUT}[filter]\nrule = "percent"\n[emit]\nextra_columns = ["weight", "rank", "p_false_negative"]\n',
        "emit.extra_columns: p_false_negative and weight: candidates have no P(false negative); "
        'add "calibrated" to filter.rule, or set filter.probabilities = true',
    ),
    (
        f'{INPUT}[filter]\nrule = "margin"\n[emit]\nformat = "labeled-list"\nsoft_labels = true\n',
        "emit.soft_labels: candidates have no P(false negative) to use as a label; "
        'add "calibrated" to filter.rule, or set filter.probabilities = true',
    ),
    (
        f'{INPUT}[emit]\nbad_positives = "down_weight"\n',
        'emit.bad_positives: "down_weight" writes the weights into a column that the trainer must read; '
        'add "positive_weight" to emit.extra_columns',
    ),
    (
        f'{INPUT}[filter]\nrule = "percent"\n[emit]\nrelabel = 0.9\n',
        "emit.relabel: candidates have no P(false negative) to compare with 0.9; set filter.rule to "
        '"auto", add "calibrated" to it, or set filter.probabilities = true',
    ),
    (
        f'{INPUT}[filter]\nrule = "auto"\n[emit]\nrelabel = 0.5\n',
        "emit.relabel: 0.5 must be above 0.5 and at most 1; it is the lowest P(false negative) of a candidate that "
        "becomes a positive",
    ),
    (
        f'{INPUT}[filter]\nrule = "auto"\n[emit]\nrelabel = 2\n',
        "emit.relabel: 2 must be above 0.5 and at most 1; it is the lowest P(false negative) of a candidate that "
        "becomes a positive",
    ),
    (
        f'{INPUT}[filter]\nrule = "auto"\n[emit]\nrelabel = [0.9, 0.8]\n',
        'emit.relabel: [0.9, 0.8] may hold one probability, and "judgements" once',
    ),
    (
        f'{INPUT}[emit]\nrelabel = "judgment"\n',
        "emit.relabel: input should be a number or 'judgements' (given: 'judgment'); did you mean 'judgements'?",
    ),
    (f"{INPUT}[emit]\nrelabel = []\n", "emit.relabel: an empty list; leave it out, and nothing is relabelled"),
    (
        f'{INPUT}[emit]\nrelabel = "judgements"\n',
        'emit.relabel: "judgements" needs judgements; name files in input.judgements',
    ),
    (
        f'{INPUT}judgements = "j.jsonl"\njudged_positives = true\n[emit]\nrelabel = ["judgements"]\n',
        'emit.relabel: "judgements": input.judged_positives already makes them positives; leave out one of the two',
    ),
    (
        f"{INPUT}[filter]\nprobabilities = true\n[emit]\nsoft_labels = true\n",
        "emit.soft_labels: rows of shape 'triplet' have no labels; set emit.format to 'labeled-pair' or 'labeled-list'",
    ),
]


@pytest.mark.parametrize(
    "text",
    [
        'choose = "mixed"\nnum_negatives = 50\nrandom_share = 0.2\n[retrieve]\ntop_k = 40\n',
        'fallback = "random"\nnum_negatives = 50\n[retrieve]\ntop_k = 9\n',
        'choose = "mixed"\nnum_negatives = 3\nrandom_share = 0\n',
        'choose = "mixed"\nnum_negatives = 3\nrandom_share = 1\n[retrieve]\ntop_k = 1\n',
    ],
)
def test_random_negatives_need_no_candidates(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f"{INPUT}[emit]\n{text}")
    assert load_config(file).emit.num_negatives >= 3


@pytest.mark.parametrize(("text", "message"), CONTRADICTIONS)
def test_settings_that_cannot_work_together(tmp_path: Path, text: str, message: str) -> None:
    assert problems(tmp_path, text) == [f"FILE {message}"]


def test_everything_at_once_wrong_values_and_contradictions(tmp_path: Path) -> None:
    text = 'workers = 0\nmemory = "x"\n[input]\ncorpus = "c"\n[filter]\npercent = 7\n[embed]\nmodel = "precomputed"\n'
    assert problems(tmp_path, text, "broken", "emit.num_negatives=500") == [
        "--set broken: write it as table.key=value, for example --set filter.percent=0.9",
        "FILE workers: input should be greater than or equal to 1 (given: 0)",
        "FILE filter.percent: input should be less than or equal to 1 (given: 7)",
        "FILE memory: 'x' is not a size; write for example 4GB or 512MiB",
        "FILE input: queries and qrels missing (corpus, queries and qrels go together)",
        'FILE embed.corpus_vectors: needed with embed.model = "precomputed"',
        'FILE embed.query_vectors: needed with embed.model = "precomputed"',
        "FILE emit.num_negatives: 500 wanted, 300 of them no random documents, but only retrieve.top_k = 100 "
        "candidates are retrieved",
    ]


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("filter.percent=0.9", "filter", "percent", 0.9),
        ("filter.rule=margin", "filter", "rule", "margin"),
        ('filter.rule="margin"', "filter", "rule", "margin"),
        ("filter.rule = margin", "filter", "rule", "margin"),
        ('filter.rule=["margin", "percent"]', "filter", "rule", ["margin", "percent"]),
        ("filter.ranks=[1, 20]", "filter", "ranks", (1, 20)),
        ("embed.trust_remote_code=true", "embed", "trust_remote_code", True),
        ("embed.model=org/name-v1.5", "embed", "model", "org/name-v1.5"),
        ("embed.query_prompt=query: ", "embed", "query_prompt", "query: "),
        ("embed.query_prompt='a = b'", "embed", "query_prompt", "a = b"),
        ("embed.query_prompt=", "embed", "query_prompt", ""),
        ("report.fail_under.eci=0.5", "report", "fail_under", {"eci": 0.5}),
    ],
)
def test_overrides(tmp_path: Path, override: str, section: str, key: str, value: Any) -> None:
    config = load_config(write(tmp_path, f"{INPUT}[filter]\npercent = 0.5\n"), (override,))
    assert getattr(getattr(config, section), key) == value


def test_overrides_of_the_top_and_the_last_one_wins(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, INPUT), ("seed=3", "seed=4", "input.columns.text=body"))
    assert config.seed == 4
    assert config.input.columns.text == "body"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set seed: write it as table.key=value, for example --set filter.percent=0.9"),
        ("a..b=1", "--set a..b=1: write it as table.key=value, for example --set filter.percent=0.9"),
        ("embed.query_prompt=\udcff", "--set embed.query_prompt=?: not UTF-8; check the terminal's encoding"),
        ("\udcff=1", "--set ?=1: not UTF-8; check the terminal's encoding"),
        ("seed.x=1", "--set seed.x=1: seed is a value, not a table"),
        ("seed=abc", "FILE seed: input should be a valid integer (given: 'abc')"),
        ("filter.percnt=1", "FILE filter.percnt: unknown key; did you mean percent?"),
    ],
)
def test_overrides_that_do_not_fit(tmp_path: Path, override: str, message: str) -> None:
    assert problems(tmp_path, "seed = 1\n" + INPUT, override) == [message]


def test_paths_start_at_the_file_and_the_out_override_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "work").mkdir()
    write(tmp_path / "conf", f'out = "runs/a"\n{INPUT}')
    monkeypatch.chdir(tmp_path / "work")
    file = Path("../conf/hn.toml")
    config = load_config(file)
    assert config.out_folder == tmp_path / "conf" / "runs" / "a"
    assert (config.base / config.input.corpus).resolve() == tmp_path / "conf" / "c.jsonl"  # type: ignore[operator]
    assert load_config(file, out="b").out_folder == tmp_path / "work" / "b"
    assert load_config(file, ("out=c",)).out_folder == tmp_path / "conf" / "c"
    assert load_config(file, ("out=c",), out=tmp_path / "d").out_folder == tmp_path / "d"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"seed = \n", "not valid TOML: Invalid value"),
        (b"seed = 1\nseed = 2\n", "not valid TOML: Cannot overwrite a value (at line 2"),
        ("out = 'ä'".encode("latin-1"), "not valid TOML: 'utf-8' codec can't decode"),
    ],
)
def test_files_that_are_no_toml(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "hn.toml"
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=re.escape(f"{file}: {message}")):
        load_config(file)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: no such config file; `hnmine init` writes one"):
        load_config(tmp_path / "no.toml")
    with pytest.raises(ConfigError, match=r"is a folder, not a config file; `hnmine init .*` writes a config for it"):
        load_config(tmp_path)


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "hn.toml"
    file.write_bytes(b"\xef\xbb\xbfseed = 5\n" + INPUT.encode())
    assert load_config(file).seed == 5
