"""The commands. Each turns its options into a config, calls one function, and shows what came of it."""

from pathlib import Path
from typing import Annotated

import typer

from hnmine.cli import options as opt
from hnmine.pipeline.stage_names import SUMMARIES
from hnmine.storage.paths import path_of

app = typer.Typer(
    name="hnmine",
    help="Mine hard negatives for embedding models and rerankers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from hnmine import __version__

        typer.echo(f"hnmine {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Mine hard negatives for embedding models and rerankers.

    Start with `hnmine init`, look with `hnmine plan`, then `hnmine run`.
    """


@app.command("run", epilog="Example: hnmine run hnmine.toml --set emit.num_negatives=8 --fail-under eci=0.5")
def run_all(
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
    """Run all seven stages; what is done already is kept."""
    from hnmine.cli.running import Invocation, remined, run_stages

    settings = (*opt.settings(override, engine, ray_address), *remined(model, previous))
    how = Invocation(config, out, settings, source, overwrite, wait)
    run_stages(how, tuple(SUMMARIES), as_json, (fail_under or [], fail_over or []))


def _stage_command(name: str) -> None:
    """Add the command of one stage; report takes limits as well."""

    def command(
        config: opt.ConfigPath,
        out: opt.Out = None,
        override: opt.Override = None,
        source: opt.Source = None,
        overwrite: opt.Overwrite = False,
        wait: opt.Wait = False,
        engine: opt.Engine = None,
        ray_address: opt.RayAddress = None,
        as_json: opt.AsJson = False,
    ) -> None:
        from hnmine.cli.running import Invocation, run_stages

        how = Invocation(config, out, opt.settings(override, engine, ray_address), source, overwrite, wait)
        run_stages(how, (name,), as_json)

    command.__doc__ = SUMMARIES[name]
    app.command(name, epilog=f"Example: hnmine {name} hnmine.toml --out runs/first")(command)


for _name in SUMMARIES:
    if _name != "report":
        _stage_command(_name)


@app.command("report", epilog="Example: hnmine report hnmine.toml --fail-under eci=0.5 --fail-under coverage=0.9")
def report(
    config: opt.ConfigPath,
    out: opt.Out = None,
    override: opt.Override = None,
    source: opt.Source = None,
    overwrite: opt.Overwrite = False,
    wait: opt.Wait = False,
    engine: opt.Engine = None,
    ray_address: opt.RayAddress = None,
    fail_under: opt.FailUnder = None,
    fail_over: opt.FailOver = None,
    as_json: opt.AsJson = False,
) -> None:
    """Measure how hard, how safe and how complete the mined set is."""
    from hnmine.cli.running import Invocation, run_stages

    how = Invocation(config, out, opt.settings(override, engine, ray_address), source, overwrite, wait)
    run_stages(how, ("report",), as_json, (fail_under or [], fail_over or []))


@app.command(epilog="Example: hnmine init --beir datasets/scifact --path scifact.toml")
def init(
    path: Annotated[Path, typer.Option(help="The config file to write.")] = Path("hnmine.toml"),
    beir: Annotated[str | None, typer.Option(help="A BEIR folder to write the config for.")] = None,
    pairs: Annotated[str | None, typer.Option(help="A file of (anchor, positive) pairs.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented config file."""
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
    """Say what a run would do: rows, memory, disk, what is done; on given machines also hours. Loads no model."""
    from hnmine.cli import show, showplan
    from hnmine.commands.plan.cluster import load_cluster
    from hnmine.commands.plan.plan import make_plan
    from hnmine.config.file import load_config

    machines = load_cluster(cluster) if cluster is not None else None
    made = make_plan(load_config(config, tuple(override or ()), out), source, machines)
    show.result(made, as_json, showplan.plan)


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
    from hnmine.cli import show
    from hnmine.commands.explain import explain_query
    from hnmine.config.file import load_config

    found = explain_query(load_config(config, tuple(override or ()), out), query_id, source)
    show.result(found, as_json, show.explanation)


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
    """Measure many filter settings over the stored candidates; no retrieval."""
    from hnmine.cli import show
    from hnmine.commands.sweep import sweep as sweep_settings
    from hnmine.config.file import load_config

    found = sweep_settings(load_config(config, tuple(override or ()), out), source, target)
    show.result(found, as_json, show.swept)
    if found["recommended"] is not None and not as_json:
        show.emit(show.toml_table("filter", found["recommended"]))


@app.command("export-judgements", epilog="Example: hnmine export-judgements hnmine.toml --path judge.jsonl")
def export_judgements(
    config: opt.ConfigPath,
    path: Annotated[Path, typer.Option(help="The JSONL file to write.")] = Path("judge.jsonl"),
    number: Annotated[int, typer.Option(min=1, help="Candidates to write, at most.")] = 200,
    per_query: Annotated[int, typer.Option("--per-query", min=1, help="Candidates of one query, at most.")] = 3,
    out: opt.Out = None,
    override: opt.Override = None,
    source: opt.Source = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Write the candidates most worth judging to a file, to be filled in and read by input.judgements."""
    from hnmine.cli import show, studies
    from hnmine.commands.export_judgements import Wanted
    from hnmine.commands.export_judgements import export_judgements as export
    from hnmine.config.file import load_config

    wanted = Wanted(number, per_query, force)
    found = export(load_config(config, tuple(override or ()), out), path, wanted, source)
    show.result(found, as_json, studies.exported)
    if not as_json:
        show.emit(found["path"])


@app.command(epilog="Example: hnmine probe hnmine.toml --seeds 5")
def probe(
    config: opt.ConfigPath,
    out: opt.Out = None,
    override: opt.Override = None,
    source: opt.Source = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100, help="Splits of the queries to train on.")] = 3,
    as_json: opt.AsJson = False,
) -> None:
    """Train a small adapter on the run's negatives and test it on held-out queries."""
    from hnmine.cli import show, studies
    from hnmine.commands.probe import probe as run_probe
    from hnmine.config.file import load_config

    found = run_probe(load_config(config, tuple(override or ()), out), source, seeds)
    show.result(found, as_json, studies.probed)


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
    from hnmine.cli import show, showcompare
    from hnmine.commands.compare.compare import compare as compare_sets

    found = compare_sets(sets, source, examples)
    if html is not None:
        from hnmine.commands.compare.page import compare_page
        from hnmine.storage.store import write_text

        write_text(compare_page(found), html)
        show.note(f"written: {html}")
    show.result(found, as_json, showcompare.comparison)


@app.command(epilog="Example: hnmine audit mined/*.parquet --model sentence-transformers/all-MiniLM-L6-v2 --out audit")
def audit(
    files: Annotated[list[str], typer.Argument(help="Mined files: files, folders, globs, URLs.", show_default=False)],
    corpus: opt.Corpus = None,
    queries: opt.Queries = None,
    qrels: opt.Qrels = None,
    model: Annotated[
        str | None, typer.Option(help="A sentence-transformers model to score with; none: no scores.")
    ] = None,
    query_prompt: Annotated[str, typer.Option(help="Put before every query that the model sees.")] = "",
    document_prompt: Annotated[str, typer.Option(help="Put before every document that the model sees.")] = "",
    out: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="PATH", help="Folder or URL to write audit.json to.", show_default=False),
    ] = None,
    fail_under: opt.FailUnder = None,
    fail_over: opt.FailOver = None,
    as_json: opt.AsJson = False,
) -> None:
    """Check mined files of any tool: what is wrong in them, how hard and how safe they are."""
    from hnmine.cli.audits import run_audit
    from hnmine.commands.audit.audit import Request

    request = Request(tuple(files), corpus, queries, qrels, model, query_prompt, document_prompt)
    run_audit(request, out, as_json, (fail_under or [], fail_over or []))
