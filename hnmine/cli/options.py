"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

ConfigPath = Annotated[Path, typer.Argument(help="The config file (TOML).", show_default=False)]
Out = Annotated[Path | None, typer.Option("--out", help="Output folder, in place of the config's.", show_default=False)]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change one setting; may be repeated.", show_default=False),
]
Source = Annotated[
    Path | None,
    typer.Option("--from", help="Another run's folder; its stages are read where they fit.", show_default=False),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME_OR_PATH", help="The model, in place of embed.model.", show_default=False),
]
Previous = Annotated[
    Path | None,
    typer.Option("--previous", help="An earlier run's folder, to mine again: previous.run.", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Recompute stages made under another config.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for another run on the folder instead of refusing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
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
