"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hnmine.storage.paths import path_of


def _option(*names: str, text: str, metavar: str | None = None, path: bool = False) -> Any:
    """Return an option without a default; `path` makes it a local path or a URL."""
    return typer.Option(
        *names, help=text, show_default=False, metavar="PATH" if path else metavar, parser=path_of if path else None
    )


ConfigPath = Annotated[Path, typer.Argument(help="The config file (TOML).", show_default=False)]
Out = Annotated[Path | None, _option("--out", text="Output folder or URL, in place of the config's.", path=True)]
AuditOut = Annotated[Path | None, _option("--out", text="Folder or URL to write audit.json to.", path=True)]
Override = Annotated[
    list[str] | None, _option("--set", text="Change one setting; may be repeated.", metavar="TABLE.KEY=VALUE")
]
Source = Annotated[
    Path | None,
    _option("--from", text="Folder or URL of another run, whose stages are read where they fit.", path=True),
]
Model = Annotated[str | None, _option("--model", text="The model, in place of embed.model.", metavar="NAME_OR_PATH")]
Previous = Annotated[
    Path | None,
    _option("--previous", text="Folder or URL of an earlier run to mine again, in place of previous.run.", path=True),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Recompute stages made with another config.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for another run on the folder instead of refusing.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Engine = Annotated[
    str | None, _option("--engine", text="Where shards are processed: inline, pool or ray.", metavar="NAME")
]
RayAddress = Annotated[
    str | None, _option("--ray-address", text="Ray cluster: auto, local or host:port.", metavar="ADDRESS")
]
Cluster = Annotated[
    Path | None, _option("--cluster", text="TOML file with the machines, and optionally a collection, to plan for.")
]
FailUnder = Annotated[
    list[str] | None, _option("--fail-under", text="Exit with 7 if a number is below X.", metavar="NAME=X")
]
FailOver = Annotated[
    list[str] | None, _option("--fail-over", text="Exit with 7 if a number is above X.", metavar="NAME=X")
]
Corpus = Annotated[
    list[str] | None,
    _option("--corpus", text="Documents that the negatives come from; may be repeated.", metavar="FILES"),
]
Queries = Annotated[
    list[str] | None, _option("--queries", text="Queries with their ids; may be repeated.", metavar="FILES")
]
Qrels = Annotated[
    list[str] | None,
    _option("--qrels", text="Relevance judgements: a table, or TREC format; may be repeated.", metavar="FILES"),
]
