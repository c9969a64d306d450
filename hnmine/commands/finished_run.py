"""The finished stages of a run that a command reads."""

from collections.abc import Iterable
from pathlib import Path

from hnmine.config.tables import Config
from hnmine.errors import IncompleteStage
from hnmine.runtime.stage import RunContext
from hnmine.storage.store import MANIFEST, read_json


def finished_run(config: Config, source: Path | None, stages: Iterable[str]) -> RunContext:
    """Return the context of a run whose named stages are complete.

    `source` is the output folder of another run to read finished stages from.

    Raises:
        IncompleteStage: with every stage that is not complete.
    """
    context = RunContext(config, config.out_folder, source.resolve() if source else None)
    missing = [name for name in stages if read_json(context.reading(name) / MANIFEST) is None]
    if missing:
        lines = (
            f"{context.reading(name)} is not complete; run `hnmine {name}` first, or `hnmine run` for all stages"
            for name in missing
        )
        hint = "" if source else "\nIf it reads stages of another run, name that run with --from"
        raise IncompleteStage("\n".join(lines) + hint)
    return context
