"""The commands: each reads its options, calls one function, and shows the result.

Everything but typer is imported inside the commands, so that `--help` stays fast.
"""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hnmine.cli import options as opt
from hnmine.pipeline.stage_names import SUMMARIES

if TYPE_CHECKING:
    from hnmine.config import Config

app = typer.Typer(
    name="hnmine",
    help="Mine hard negatives for embedding models and rerankers.",
    no_args_is_help=True,
    add_completion=False,
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

    Start with `hnmine init`, check with `hnmine plan`, then `hnmine run`.
    """


def _load(config: Path, override: list[str] | None, out: Path | None) -> "Config":
    from hnmine.config.file import load_config

    return load_config(config, tuple(override or ()), out)


def _add_run_command(name: str, stages: tuple[str, ...], summary: str, example: str, without: tuple[str, ...]) -> None:
    """Add a command that runs stages; `without` names the options that it does not have."""

    def command(
        config: opt.ConfigPath,
        out: opt.Out = None,
        override: opt.Override = None,
        source: opt.Source = None,
        model: opt.Model = None,
        previous: opt.Previous = None,
        overwrite: opt.Overwrite = False,
        wait: opt.Wait = False,
        engine: opt.Engine = None,
        ray_address: opt.RayAddress = None,
        fail_under: opt.FailUnder = None,
        fail_over: opt.FailOver = None,
        as_json: opt.AsJson = False,
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
    app.command(name, epilog=f"Example: hnmine {name} {example}")(command)


_REMINING, _LIMITS = ("model", "previous"), ("fail_under", "fail_over")
_add_run_command(
    "run",
    tuple(SUMMARIES),
    "Run all seven stages; finished stages are kept.",
    "hnmine.toml --set emit.num_negatives=8 --fail-under eci=0.5",
    without=(),
)
for _name, _summary in SUMMARIES.items():
    if _name == "report":
        _limits = "hnmine.toml --fail-under eci=0.5 --fail-under coverage=0.9"
        _add_run_command(_name, (_name,), _summary, _limits, without=_REMINING)
    else:
        _add_run_command(_name, (_name,), _summary, "hnmine.toml --out runs/first", without=(*_REMINING, *_LIMITS))


@app.command(epilog="Example: hnmine init --beir datasets/scifact --path scifact.toml")
def init(
    path: Annotated[Path, typer.Option(help="The config file to write.")] = Path("hnmine.toml"),
    beir: Annotated[str | None, typer.Option(help="A BEIR folder to use as the input.")] = None,
    pairs: Annotated[str | None, typer.Option(help="A file of (anchor, positive) pairs to use as the input.")] = None,
    force: opt.Force = False,
) -> None:
    """Write a config file with every setting, its default and its meaning."""
    from hnmine.commands.init import write_starter

    typer.echo(write_starter(path, beir=beir, pairs=pairs, force=force))


@app.command(epilog="Example: hnmine plan hnmine.toml --cluster cluster.toml")
def plan(
    config: opt.ConfigPath,
    out: opt.Out = None,
    override: opt.Override = None,
    source: opt.Source = None,
    cluster: opt.Cluster = None,
    as_json: opt.AsJson = False,
) -> None:
    """Say what a run would do: rows, memory, disk, finished stages; on given machines also hours. Loads no model."""
    from hnmine.cli.command_tables import draw_plan
    from hnmine.cli.terminal import show
    from hnmine.commands.plan.cluster import load_cluster
    from hnmine.commands.plan.plan import make_plan

    machines = load_cluster(cluster) if cluster is not None else None
    show(make_plan(_load(config, override, out), source, machines), as_json, draw_plan)


@app.command(epilog="Example: hnmine explain hnmine.toml --query-id q007")
def explain(
    config: opt.ConfigPath,
    query_id: Annotated[str, typer.Option("--query-id", help="The query to explain.")],
    out: opt.Out = None,
    override: opt.Override = None,
    source: opt.Source = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show every candidate of one query: score, rank, verdict, text."""
    from hnmine.cli.command_tables import draw_explanation
    from hnmine.cli.terminal import show
    from hnmine.commands.explain import explain_query

    show(explain_query(_load(config, override, out), query_id, source), as_json, draw_explanation)


@app.command(epilog="Example: hnmine sweep hnmine.toml --target-false-negative-rate 0.05")
def sweep(
    config: opt.ConfigPath,
    out: opt.Out = None,
    override: opt.Override = None,
    source: opt.Source = None,
    target: Annotated[
        float | None,
        typer.Option(
            "--target-false-negative-rate", help="Print the setting that meets this rate.", show_default=False
        ),
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Measure many filter settings over the stored candidates, without a new retrieval."""
    from hnmine.cli.command_tables import draw_sweep
    from hnmine.cli.terminal import print_result, show
    from hnmine.commands.sweep import sweep as sweep_settings
    from hnmine.config.section import toml_value

    found = sweep_settings(_load(config, override, out), source, target)
    show(found, as_json, draw_sweep)
    if found["recommended"] is not None and not as_json:
        lines = (f"{key} = {toml_value(value)}" for key, value in found["recommended"].items())
        print_result("\n".join(["[filter]", *lines]))


@app.command("export-judgements", epilog="Example: hnmine export-judgements hnmine.toml --path judge.jsonl")
def export_judgements(
    config: opt.ConfigPath,
    path: Annotated[Path, typer.Option(help="The JSONL file to write.")] = Path("judge.jsonl"),
    number: Annotated[int, typer.Option(min=1, help="Largest number of candidates to write.")] = 200,
    per_query: Annotated[
        int, typer.Option("--per-query", min=1, help="Largest number of candidates of one query.")
    ] = 3,
    out: opt.Out = None,
    override: opt.Override = None,
    source: opt.Source = None,
    force: opt.Force = False,
    as_json: opt.AsJson = False,
) -> None:
    """Write the candidates most worth judging to a file; once filled in, input.judgements reads it."""
    from hnmine.cli.command_tables import draw_judgements
    from hnmine.cli.terminal import print_result, show
    from hnmine.commands.export_judgements import ExportOptions
    from hnmine.commands.export_judgements import export_judgements as export

    found = export(_load(config, override, out), path, ExportOptions(number, per_query, force), source)
    show(found, as_json, draw_judgements)
    if not as_json:
        print_result(found["path"])


@app.command(epilog="Example: hnmine probe hnmine.toml --seeds 5")
def probe(
    config: opt.ConfigPath,
    out: opt.Out = None,
    override: opt.Override = None,
    source: opt.Source = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=100, help="Number of random splits of the queries to train on.")
    ] = 3,
    as_json: opt.AsJson = False,
) -> None:
    """Train a small adapter on the run's negatives and test it on held-out queries."""
    from hnmine.cli.command_tables import draw_probe
    from hnmine.cli.terminal import show
    from hnmine.commands.probe import probe as run_probe

    show(run_probe(_load(config, override, out), source, seeds), as_json, draw_probe)


@app.command(epilog="Example: hnmine compare runs/first runs/second --html difference.html")
def compare(
    sets: Annotated[
        list[str],
        typer.Argument(help="Output folders of complete runs, or files of triplets: two or more.", show_default=False),
    ],
    examples: Annotated[int, typer.Option(min=0, help="How many of the queries that differ most to show.")] = 5,
    html: Annotated[
        Path | None, typer.Option(help="Write the comparison as a page to this file.", show_default=False)
    ] = None,
    source: opt.Source = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show mined sets side by side: numbers, overlap, shifts, and the queries that differ most."""
    from hnmine.cli.command_tables import draw_comparison
    from hnmine.cli.terminal import say, show
    from hnmine.commands.compare.compare import compare as compare_sets
    from hnmine.commands.compare.page import compare_page
    from hnmine.storage.store import write_text

    found = compare_sets(sets, source, examples)
    if html is not None:
        write_text(compare_page(found), html)
        say(f"written: {html}", soft_wrap=True)
    show(found, as_json, draw_comparison)


@app.command(epilog="Example: hnmine audit mined/*.parquet --model sentence-transformers/all-MiniLM-L6-v2 --out audit")
def audit(
    files: Annotated[list[str], typer.Argument(help="Mined files: files, folders, globs, URLs.", show_default=False)],
    corpus: opt.Corpus = None,
    queries: opt.Queries = None,
    qrels: opt.Qrels = None,
    model: Annotated[
        str | None, typer.Option(help="A sentence-transformers model that scores; without it there are no scores.")
    ] = None,
    query_prompt: Annotated[str, typer.Option(help="Text put before every query for the model.")] = "",
    document_prompt: Annotated[str, typer.Option(help="Text put before every document for the model.")] = "",
    out: opt.AuditOut = None,
    fail_under: opt.FailUnder = None,
    fail_over: opt.FailOver = None,
    as_json: opt.AsJson = False,
) -> None:
    """Check mined files of any tool: faults, hardness and safety."""
    from hnmine.cli.command_tables import draw_audit
    from hnmine.cli.progress import progress_on
    from hnmine.cli.terminal import print_result, show
    from hnmine.commands.audit.audit import Request, write_audit
    from hnmine.commands.audit.audit import audit as run_audit
    from hnmine.stages.report.limits import check_limits, parse_limits

    under, over = parse_limits(fail_under or [], "--fail-under"), parse_limits(fail_over or [], "--fail-over")
    request = Request(tuple(files), corpus, queries, qrels, model, query_prompt, document_prompt)
    with progress_on() as progress:
        report = run_audit(request, progress)
    path = write_audit(report, out) if out is not None else None
    show(report, as_json, draw_audit)
    if path is not None and not as_json:
        print_result(str(path))
    check_limits(report, under, over)
