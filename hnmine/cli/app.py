"""The commands and their options: each command reads its options, calls one function, and shows the result.

Everything but typer is imported inside functions, so that `--help` stays fast.
"""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hnmine.pipeline.stage_names import SUMMARIES
from hnmine.students import DEFAULT_STUDENT

if TYPE_CHECKING:
    from hnmine.config.tables import Config


def _path(given: str) -> Path:
    from hnmine.storage.paths import path_of

    if not given:  # such as that of a variable that is not set; it would stand for the working directory
        raise typer.BadParameter("an empty path")
    return path_of(given)


def _completed(kind: str) -> Any:
    """Return a function that completes a value by the function `kind` of `hnmine.cli.completion`."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from hnmine.cli import completion

        # an option without its value ends the reading of the line, so that the config is not among the parameters
        given = {**ctx.params, "config": ctx.params.get("config") or next(iter(ctx.args), None)}
        try:
            found: list[str] = getattr(completion, kind)(given, incomplete)
        except Exception:  # a message would be printed into the line that the user types
            found = []
        return found

    return complete


def _option(name: str, text: str, metavar: str | None = None, complete: str | None = None) -> Any:
    """Return an option without a default; one whose metavar is PATH takes a local path or a URL.

    `complete` is the function of `hnmine.cli.completion` that completes its value.
    """
    return typer.Option(
        name, help=text, show_default=False, metavar=metavar, parser=_path if metavar == "PATH" else None,
        autocompletion=None if complete is None else _completed(complete),
    )  # fmt: skip


MINE, STAGES, LOOK, JUDGE = "Mine", "One stage of a run", "Look at runs and choose settings", "Judge candidates"
"""Groups of commands in `hnmine --help`."""
ConfigPath = Annotated[Path, typer.Argument(help="The config file (TOML).", show_default=False)]
Out = Annotated[Path | None, _option("--out", "Output folder or URL, in place of the config's.", "PATH")]
AuditOut = Annotated[Path | None, _option("--out", "Folder or URL to write audit.json to.", "PATH")]
Override = Annotated[
    list[str] | None, _option("--set", "Change one setting; may be repeated.", "TABLE.KEY=VALUE", "settings")
]
Source = Annotated[
    Path | None, _option("--from", "Folder or URL of another run, to reuse its stages with the same keys.", "PATH")
]
Model = Annotated[str | None, _option("--model", "The model, in place of embed.model.", "NAME_OR_PATH")]
Previous = Annotated[
    Path | None,
    _option("--previous", "Folder or URL of an earlier run to mine again, in place of previous.run.", "PATH"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Recompute stages made with another config.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for another run on the folder instead of refusing.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Student = Annotated[
    str, _option("--student", "What is trained: static (the default), top-layers or full.", "NAME", "students")
]
StudentModel = Annotated[
    str | None, _option("--model", "The model that the student begins with, in place of embed.model.", "NAME_OR_PATH")
]
Loss = Annotated[
    str, typer.Option("--loss", help="Negatives that a query is trained against: batch (all of its batch) or own.")
]
MostQueries = Annotated[int, typer.Option("--queries", min=1, help="Largest number of queries to train and test on.")]
Engine = Annotated[
    str | None, _option("--engine", "Where shards are processed: inline, pool or ray.", "NAME", "engines")
]
RayAddress = Annotated[str | None, _option("--ray-address", "Ray cluster: auto, local or host:port.", "ADDRESS")]
Recipe = Annotated[
    str | None,
    _option("--recipe", "Settings of a published way of mining: see `init --list-recipes`.", "NAME", "recipes"),
]
Cluster = Annotated[
    Path | None, _option("--cluster", "TOML file with the machines, and optionally a collection, to plan for.")
]
FailUnder = Annotated[
    list[str] | None, _option("--fail-under", "Exit with 7 if a number is below X.", "NAME=X", "numbers")
]
FailOver = Annotated[
    list[str] | None, _option("--fail-over", "Exit with 7 if a number is above X.", "NAME=X", "numbers")
]
Corpus = Annotated[
    list[str] | None, _option("--corpus", "Documents that the negatives come from; may be repeated.", "FILES")
]
Queries = Annotated[list[str] | None, _option("--queries", "Queries with their ids; may be repeated.", "FILES")]
Qrels = Annotated[
    list[str] | None, _option("--qrels", "Relevance judgements: a table, or TREC format; may be repeated.", "FILES")
]

app = typer.Typer(
    name="hnmine",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from hnmine import __version__

        typer.echo(f"hnmine {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Mine hard negatives for embedding models and rerankers.

    Pairs or a BEIR folder: `hnmine mine`. Other input: `hnmine init`, then `hnmine plan` and `hnmine run`.
    """


def _load(config: Path, override: list[str] | None, out: Path | None) -> "Config":
    from hnmine.config.file import load_config

    return load_config(config, tuple(override or ()), out)


def _add_run_command(
    name: str, stages: tuple[str, ...], summary: str, example: str, without: tuple[str, ...] = ()
) -> None:
    """Add a command that runs stages; `without` names the options that it does not have."""

    def command(
        config: ConfigPath,
        out: Out = None,
        override: Override = None,
        source: Source = None,
        model: Model = None,
        previous: Previous = None,
        overwrite: Overwrite = False,
        wait: Wait = False,
        engine: Engine = None,
        ray_address: RayAddress = None,
        fail_under: FailUnder = None,
        fail_over: FailOver = None,
        as_json: AsJson = False,
    ) -> None:
        from hnmine.cli.run_stages import option_settings, run_stages
        from hnmine.pipeline.run import RunOptions

        settings = [*(override or ()), *option_settings(engine, ray_address, model, previous)]
        options = RunOptions(source.resolve() if source else None, overwrite, wait)
        run_stages(_load(config, settings, out), stages, options, as_json, (fail_under or [], fail_over or []))

    command.__doc__ = summary
    signature = inspect.signature(command)
    kept = [parameter for key, parameter in signature.parameters.items() if key not in without]
    command.__dict__["__signature__"] = signature.replace(parameters=kept)
    panel = MINE if name == "run" else STAGES
    app.command(name, epilog=f"Example: hnmine {name} hnmine.toml {example}", rich_help_panel=panel)(command)


@app.command(
    epilog="Example: hnmine mine pairs.jsonl --model BAAI/bge-small-en-v1.5 -n 5 --out mined", rich_help_panel=MINE
)
def mine(
    pairs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILES",
            help="Files of (anchor, positive) pairs: files, folders, globs, URLs.",
            show_default=False,
        ),
    ] = None,
    beir: Annotated[str | None, _option("--beir", "A BEIR folder, in place of pairs.", "FOLDER")] = None,
    model: Annotated[
        str | None, _option("--model", "Name or local path of the model (default: all-MiniLM-L6-v2).", "NAME_OR_PATH")
    ] = None,
    number: Annotated[
        int | None,
        typer.Option("-n", "--num-negatives", help="Negatives for each pair (default: 5).", show_default=False),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", help="Output folder; the config is written there, too.", metavar="FOLDER")
    ] = "runs/first",
    corpus: Annotated[
        list[str] | None,
        _option("--corpus", "More documents, beside the positives, for negatives; may be repeated.", "FILES"),
    ] = None,
    rule: Annotated[
        list[str] | None,
        _option("--rule", "The rule against false negatives (default: auto); may be repeated.", "NAME", "rules"),
    ] = None,
    shape: Annotated[
        list[str] | None,
        _option("--format", "Shape of the rows (default: triplet); may be repeated.", "NAME", "formats"),
    ] = None,
    recipe: Recipe = None,
    query_prompt: Annotated[str | None, _option("--query-prompt", "Text put before every query.")] = None,
    document_prompt: Annotated[str | None, _option("--document-prompt", "Text put before every document.")] = None,
    override: Override = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a config with other settings; recompute what changed.")
    ] = False,
    wait: Wait = False,
    fail_under: FailUnder = None,
    fail_over: FailOver = None,
    as_json: AsJson = False,
) -> None:
    """Mine pairs or a BEIR folder without a config file; the config of the run is written to OUT/hnmine.toml."""
    from hnmine.cli.run_stages import run_stages
    from hnmine.cli.terminal import say
    from hnmine.commands.mine import MineRequest, prepare, written
    from hnmine.pipeline.run import RunOptions

    request = MineRequest(
        pairs or [], beir, out, corpus or [], model, rule or [], shape or [], number, recipe,
        {"query_prompt": query_prompt, "document_prompt": document_prompt}, override or [],
    )  # fmt: skip
    options, limits = RunOptions(overwrite=overwrite, wait=wait), (fail_under or [], fail_over or [])
    mining = prepare(request, overwrite=overwrite)
    with written(mining) as config:
        run_stages(config, tuple(SUMMARIES), options, as_json, limits)
    say(f"training rows: {config.out_folder / 'emit'}; config: {mining.path}", soft_wrap=True)


@app.command(epilog="Example: hnmine init --beir datasets/scifact --path scifact.toml", rich_help_panel=MINE)
def init(
    path: Annotated[Path, typer.Option(help="The config file to write.")] = Path("hnmine.toml"),
    beir: Annotated[str | None, typer.Option(help="A BEIR folder to use as the input.")] = None,
    pairs: Annotated[str | None, typer.Option(help="A file of (anchor, positive) pairs to use as the input.")] = None,
    recipe: Recipe = None,
    list_recipes: Annotated[
        bool, typer.Option("--list-recipes", help="Print all recipes with their settings and sources, and stop.")
    ] = False,
    force: Force = False,
) -> None:
    """Write a config file with every setting, its default and its meaning."""
    from hnmine.commands import recipes
    from hnmine.commands.init import write_starter

    if list_recipes:
        typer.echo(recipes.list_recipes(), nl=False)
        return
    typer.echo(write_starter(path, beir=beir, pairs=pairs, force=force, recipe=recipe))


@app.command(epilog="Example: hnmine plan hnmine.toml --cluster cluster.toml", rich_help_panel=MINE)
def plan(
    config: ConfigPath,
    out: Out = None,
    override: Override = None,
    source: Source = None,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Estimate a run without loading a model: rows, memory, disk, finished stages; with --cluster also hours."""
    from hnmine.cli import command_tables, terminal
    from hnmine.commands.plan.cluster import load_cluster
    from hnmine.commands.plan.plan import make_plan

    machines = load_cluster(cluster) if cluster is not None else None
    terminal.show(make_plan(_load(config, override, out), source, machines), as_json, command_tables.draw_plan)


_limits = "--fail-under eci=0.5"
_add_run_command(
    "run", tuple(SUMMARIES), "Run all stages; finished ones are kept.", f"--set emit.num_negatives=8 {_limits}"
)
for _name, _summary in SUMMARIES.items():
    _without = ("model", "previous") if _name == "report" else ("model", "previous", "fail_under", "fail_over")
    _example = f"{_limits} --fail-under coverage=0.9" if _name == "report" else "--out runs/first"
    _add_run_command(_name, (_name,), _summary, _example, _without)


@app.command(epilog="Example: hnmine explain hnmine.toml --query-id q007", rich_help_panel=LOOK)
def explain(
    config: ConfigPath,
    query_id: Annotated[str | None, _option("--query-id", "The query to explain.", "ID", "query_ids")] = None,
    top: Annotated[
        int,
        typer.Option(min=1, help="Candidates to show: the negatives chosen, and those with the highest ranks."),
    ] = 20,
    every: Annotated[bool, typer.Option("--all", help="Show all candidates.")] = False,
    number: Annotated[
        int | None,
        typer.Option("--random", min=1, help="Show this many random rows of the set instead.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="With --random: other rows for each seed.")] = 0,
    out: Out = None,
    override: Override = None,
    source: Source = None,
    as_json: AsJson = False,
) -> None:
    """Show the candidates of one query with score, rank, verdict and text; or random rows of the set."""
    from hnmine.cli import command_tables, terminal
    from hnmine.commands.explain import explain_query
    from hnmine.commands.random_rows import random_rows
    from hnmine.errors import ConfigError

    if (query_id is None) == (number is None):
        raise ConfigError("explain: give --query-id ID for one query, or --random N for rows of the set, not both")
    made = _load(config, override, out)
    if number is not None:
        found = random_rows(made, number, seed, source)
        terminal.show(found, as_json, command_tables.draw_random_rows)
    else:
        assert query_id is not None
        found = explain_query(made, query_id, source, None if every else top)
        terminal.show(found, as_json, command_tables.draw_explanation)
    terminal.tell_differences(found)


@app.command(epilog="Example: hnmine sweep hnmine.toml --target-false-negative-rate 0.05", rich_help_panel=LOOK)
def sweep(
    config: ConfigPath,
    out: Out = None,
    override: Override = None,
    source: Source = None,
    target: Annotated[
        float | None,
        typer.Option(
            "--target-false-negative-rate",
            help="Print the setting with the best ECI within this rate that neither auto nor the run's own beats.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure many filter settings on the stored candidates, without a new retrieval."""
    from hnmine.cli import command_tables, terminal
    from hnmine.commands.sweep import sweep as sweep_settings
    from hnmine.config.section import toml_value

    made = _load(config, override, out)
    with terminal.working("sweep"):
        found = sweep_settings(made, source, target)
    terminal.show(found, as_json, command_tables.draw_sweep)
    if found["recommended"] is not None and not as_json:
        lines = (f"{key} = {toml_value(value)}" for key, value in found["recommended"].items())
        terminal.print_result("\n".join(["", "[filter]", *lines]))
    terminal.tell_differences(found)


@app.command(epilog="Example: hnmine tune hnmine.toml --seconds 600 --write", rich_help_panel=LOOK)
def tune(
    config: ConfigPath,
    out: Out = None,
    override: Override = None,
    source: Source = None,
    student: Student = DEFAULT_STUDENT,
    model: StudentModel = None,
    loss: Loss = "batch",
    layers: Annotated[
        int | None,
        typer.Option("--layers", min=1, help="Layers that top-layers trains.", show_default="the student's own"),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=100, help="Splits of the queries that the last settings train with.")
    ] = 3,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0, help="Begin no training after this time.", show_default="no limit"),
    ] = None,
    queries: MostQueries = 2_000,
    grid: Annotated[
        Path | None, typer.Option("--grid", help="TOML or JSON file of settings to try.", show_default="a grid")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Put the choice into the config file; comments stay.")] = False,
    as_json: AsJson = False,
) -> None:
    """Choose settings of [filter] and [emit] by training small models on the sets that they give."""
    from hnmine.cli import command_tables, terminal
    from hnmine.commands.tune.choice import write_choice
    from hnmine.commands.tune.tune import Options
    from hnmine.commands.tune.tune import tune as run_tune

    made = _load(config, override, out)
    options = Options(student, loss, layers, model, seeds, seconds, queries, grid)
    with terminal.progress_on() as progress:
        found = run_tune(made, source, options, progress)
    terminal.show(found, as_json, command_tables.draw_tune)
    if "not_kept" not in found:
        terminal.hint(f"page: {found['page']}")
    terminal.tell_differences(found)
    if write:
        terminal.hint(write_choice(made, found))


Again = Annotated[
    Path | None,
    _option("--again", "Judgements of a first judge: ask a second one about what they call relevant.", "FILE"),
]
_SAMPLE = "worth: candidates most worth judging; negatives: only negatives; random: a random sample of the negatives."
Sample = Annotated[Literal["worth", "negatives", "random"], typer.Option(help=_SAMPLE)]
SampleSeed = Annotated[int | None, typer.Option(min=0, help="Seed of the random sample.", show_default="the run's")]
MaxRequests = Annotated[
    int | None,
    typer.Option(
        "--max-requests",
        min=1,
        help="Largest number of requests; `hnmine judge` counts those of earlier starts.",
        show_default=False,
    ),
]


@app.command(
    "export-judgements",
    epilog="Example: hnmine export-judgements hnmine.toml --path judge.jsonl",
    rich_help_panel=JUDGE,
)
def export_judgements(
    config: ConfigPath,
    path: Annotated[Path, typer.Option(help="The JSONL file to write.")] = Path("judge.jsonl"),
    number: Annotated[
        int | None, typer.Option(min=1, help="Largest number of candidates to write.", show_default="200")
    ] = None,
    sample: Annotated[
        Literal["worth", "negatives", "random"] | None,
        typer.Option(help=_SAMPLE, show_default="worth; of requests negatives"),
    ] = None,
    seed: SampleSeed = None,
    per_query: Annotated[
        int | None,
        typer.Option(
            "--per-query",
            min=1,
            help="Largest number of candidates of one query.",
            show_default="3; of requests judge.candidates",
        ),
    ] = None,
    shape: Annotated[
        Literal["lines", "openai-batch"],
        typer.Option(
            "--format", help="lines: one candidate a line, to be filled in; openai-batch: requests to a language model."
        ),
    ] = "lines",
    max_requests: MaxRequests = None,
    again: Again = None,
    out: Out = None,
    override: Override = None,
    source: Source = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write candidates to judge to a file: those most worth it, or a random sample to measure false negatives.

    Once filled in, input.judgements reads the former, and report.judged_sample the latter. With --format openai-batch
    the file has requests for the language model that the config names; `hnmine judge` reads the replies.
    """
    from hnmine.cli import command_tables, terminal
    from hnmine.commands.export_judgements import NUMBER, PER_QUERY, ExportOptions
    from hnmine.commands.export_judgements import export_judgements as export
    from hnmine.errors import ConfigError

    made = _load(config, override, out)
    if shape == "openai-batch":
        from hnmine.commands.judge.ask import Budget
        from hnmine.commands.judge.judge import JudgeOptions, export_requests

        asked = JudgeOptions(number, per_query, sample or "negatives", seed, again, Budget(max_requests), force)
        found = export_requests(made, path, asked, source)
        draw = command_tables.draw_requests
    elif again is not None or max_requests is not None:
        raise ConfigError("export-judgements: --again and --max-requests go with --format openai-batch")
    else:
        random, negatives = sample == "random", sample == "negatives"
        options = ExportOptions(number or NUMBER, per_query or PER_QUERY, force, random, seed, negatives)
        found = export(made, path, options, source)
        draw = command_tables.draw_judgements
    if not as_json:
        draw(found)
    terminal.print_result(found if as_json else found["path"])
    terminal.tell_differences(found)


@app.command(epilog="Example: hnmine judge hnmine.toml --max-requests 100 --path judged.jsonl", rich_help_panel=JUDGE)
def judge(
    config: ConfigPath,
    path: Annotated[Path, typer.Option(help="The JSONL file of judgements to write.")] = Path("judged.jsonl"),
    replies: Annotated[
        list[str] | None,
        _option("--replies", "Read replies from files of OpenAI's batch interface, and send nothing.", "FILES"),
    ] = None,
    asked: Annotated[
        Path | None, _option("--asked", "With --replies: the file written beside the requests, NAME.asked.jsonl.")
    ] = None,
    max_requests: MaxRequests = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens",
            min=1,
            help="Largest number of tokens, those of replies and of earlier starts included.",
            show_default=False,
        ),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option(min=1, help="Largest number of candidates.", show_default="200, or what the budget allows"),
    ] = None,
    sample: Sample = "negatives",
    seed: SampleSeed = None,
    per_query: Annotated[
        int | None,
        typer.Option(
            "--per-query", min=1, help="Largest number of candidates of one query.", show_default="judge.candidates"
        ),
    ] = None,
    again: Again = None,
    out: Out = None,
    override: Override = None,
    source: Source = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Let a language model judge candidates: ask the server of judge.model, or read its replies from files.

    The judgements go to a file for input.judgements. Replies are kept as they come: started again, the command goes on
    where it was stopped, and asks about no candidate twice.
    """
    from hnmine.cli import command_tables, terminal
    from hnmine.commands.judge.ask import Budget
    from hnmine.commands.judge.judge import JudgeOptions, ask_server, read_batch
    from hnmine.errors import ConfigError

    made = _load(config, override, out)
    budget = Budget(max_requests, max_tokens)
    options = JudgeOptions(number, per_query, sample, seed, again, budget, force)
    if bool(replies) != (asked is not None):
        raise ConfigError("judge: --replies and --asked go together: the replies, and the file beside the requests")
    flags = {
        "--max-requests": max_requests, "--max-tokens": max_tokens, "--number": number, "--per-query": per_query,
        "--sample": sample if sample != "negatives" else None, "--seed": seed,
    }  # fmt: skip
    if replies and (unused := [flag for flag, value in flags.items() if value is not None]):
        raise ConfigError(
            f"judge: {', '.join(unused)}: decides what is asked, and --replies reads what was asked before; leave it "
            "out, or give it to `hnmine export-judgements`"
        )
    if replies and asked is not None:
        found = read_batch(path, replies, asked, options)
    else:
        with terminal.progress_on() as progress:
            found = ask_server(made, path, options, progress, source)
    if not as_json:
        command_tables.draw_judge(found)
    terminal.print_result(found if as_json else found["path"])
    if "other_settings" in found:
        terminal.tell_differences(found)


@app.command(epilog="Example: hnmine probe hnmine.toml other/train.jsonl", rich_help_panel=LOOK)
def probe(
    config: ConfigPath,
    other: Annotated[
        str | None,
        typer.Argument(
            help="Another set: a run's config file or output folder, or training files of any tool.",
            metavar="[OTHER]",
            show_default=False,
        ),
    ] = None,
    out: Out = None,
    override: Override = None,
    source: Source = None,
    student: Student = DEFAULT_STUDENT,
    model: StudentModel = None,
    loss: Loss = "batch",
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=100, help="Number of random splits of the queries to train on.")
    ] = 3,
    queries: MostQueries = 2_000,
    as_json: AsJson = False,
) -> None:
    """Train a small model on the run's set, on random negatives, on none and on another set, and test each."""
    from hnmine.cli import command_tables, terminal
    from hnmine.commands.probe.probe import Options
    from hnmine.commands.probe.probe import probe as run_probe

    made = _load(config, override, out)
    options = Options(student, loss, model, seeds, queries)
    with terminal.progress_on() as progress:
        found = run_probe(made, source, other, options, progress)
    terminal.show(found, as_json, command_tables.draw_probe)
    terminal.tell_differences(found)


@app.command(epilog="Example: hnmine compare runs/first runs/second --html difference.html", rich_help_panel=LOOK)
def compare(
    sets: Annotated[
        list[str],
        typer.Argument(help="Output folders of complete runs, or files of triplets: two or more.", show_default=False),
    ],
    examples: Annotated[int, typer.Option(min=0, help="How many of the queries that differ most to show.")] = 5,
    html: Annotated[
        Path | None, typer.Option(help="Write the comparison as a page to this file.", show_default=False)
    ] = None,
    source: Source = None,
    as_json: AsJson = False,
) -> None:
    """Compare mined sets: a verdict, settings, numbers, overlap, and the queries that differ most."""
    from hnmine.cli import command_tables, terminal
    from hnmine.commands.compare.compare import compare as compare_sets
    from hnmine.commands.compare.page import compare_page
    from hnmine.storage.store import write_text

    with terminal.working("compare"):
        found = compare_sets(sets, source, examples)
    if html is not None:
        write_text(compare_page(found), html)
        terminal.hint(f"written: {html}")
    terminal.show(found, as_json, command_tables.draw_comparison)


@app.command(
    epilog="Example: hnmine audit mined/*.parquet --model sentence-transformers/all-MiniLM-L6-v2 --out audit",
    rich_help_panel=LOOK,
)
def audit(
    files: Annotated[list[str], typer.Argument(help="Mined files: files, folders, globs, URLs.", show_default=False)],
    corpus: Corpus = None,
    queries: Queries = None,
    qrels: Qrels = None,
    model: Annotated[
        str | None, typer.Option(help="A sentence-transformers model to compute scores with (default: no scores).")
    ] = None,
    query_prompt: Annotated[str, typer.Option(help="Text put before every query for the model.")] = "",
    document_prompt: Annotated[str, typer.Option(help="Text put before every document for the model.")] = "",
    out: AuditOut = None,
    fail_under: FailUnder = None,
    fail_over: FailOver = None,
    as_json: AsJson = False,
) -> None:
    """Check mined files of any tool: faults, hardness and safety."""
    from hnmine.cli import command_tables, terminal
    from hnmine.commands.audit.audit import AUDIT_FILE, Request
    from hnmine.commands.audit.audit import audit as run_audit
    from hnmine.commands.audit.number_names import audit_number_names
    from hnmine.stages.report.limits import check_limits, check_names, parse_limits
    from hnmine.storage.store import write_json

    under, over = parse_limits(fail_under or [], "--fail-under"), parse_limits(fail_over or [], "--fail-over")
    names = audit_number_names()
    check_names({"--fail-under": under, "--fail-over": over}, names)
    request = Request(tuple(files), corpus, queries, qrels, model, query_prompt, document_prompt)
    with terminal.progress_on() as progress:
        report = run_audit(request, progress)
    if out is not None:
        write_json(report, out / AUDIT_FILE)
    terminal.show(report, as_json, command_tables.draw_audit)
    if out is not None:
        terminal.hint(f"written: {out / AUDIT_FILE}")
    check_limits(report, under, over, names)
