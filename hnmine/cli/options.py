"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from hnmine.storage.paths import path_of

ConfigPath = Annotated[Path, typer.Argument(help="The config file (TOML).", show_default=False)]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        parser=path_of,
        metavar="PATH",
        help="Output folder or URL, in place of the config's.",
        show_default=False,
    ),
]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change one setting; may be repeated.", show_default=False),
]
Source = Annotated[
    Path | None,
    typer.Option(
        "--from",
        parser=path_of,
        metavar="PATH",
        help="Another run's folder or URL; its stages are read where they fit.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME_OR_PATH", help="The model, in place of embed.model.", show_default=False),
]
Previous = Annotated[
    Path | None,
    typer.Option(
        "--previous",
        parser=path_of,
        metavar="PATH",
        help="An earlier run's folder or URL, to mine again: previous.run.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Recompute stages made under another config.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for another run on the folder instead of refusing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine", metavar="NAME", help="Where shards are worked on: inline, pool or ray.", show_default=False
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray-address", metavar="ADDRESS", help="Ray cluster: auto, local or host:port.", show_default=False),
]
Cluster = Annotated[
    Path | None,
    typer.Option("--cluster", help="Machines to plan for, and a collection to be (TOML).", show_default=False),
]
FailUnder = Annotated[
    list[str] | None,
    typer.Option("--fail-under", metavar="NAME=X", help="Exit 7 if a number is below X.", show_default=False),
]
FailOver = Annotated[
    list[str] | None,
    typer.Option("--fail-over", metavar="NAME=X", help="Exit 7 if a number is above X.", show_default=False),
]
Corpus = Annotated[
    list[str] | None,
    typer.Option("--corpus", metavar="FILES", help="Documents the negatives come from; may be repeated."),
]
Queries = Annotated[
    list[str] | None, typer.Option("--queries", metavar="FILES", help="Queries with their ids; may be repeated.")
]
Qrels = Annotated[
    list[str] | None,
    typer.Option("--qrels", metavar="FILES", help="Judgements: a table, or the TREC format; may be repeated."),
]


def settings(override: list[str] | None, engine: str | None, ray_address: str | None) -> tuple[str, ...]:
    """Return the settings changed on the command line; an option of its own goes before --set."""
    own = (("engine", engine), ("ray_address", ray_address))
    return (*(override or ()), *(f"{name}={value}" for name, value in own if value is not None))
