import threading

import pytest

from hnmine.cli.progress_lines import EVERY, Lines, duration
from hnmine.pipeline.run import run
from tests.support import config_for, make_collection


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def made():
    lines, clock = [], Clock()
    return Lines(lines.append, clock), lines, clock


def test_a_long_step_gets_a_line_every_30_seconds_with_its_rate_and_the_time_left(made):
    progress, lines, clock = made
    progress.stage_start("embed")
    progress.start("embed", "embed", "texts", 57_638, 0)
    progress.advance(12_288)
    clock.now += EVERY - 0.5
    progress.look()
    assert lines == ["embed: started"]
    clock.now += 0.5
    progress.look()
    progress.look()
    assert lines[1:] == ["embed: 12,288 of 57,638 texts, 410/s, about 2 min left"]
    clock.now += EVERY
    progress.advance(8_000)
    progress.look()
    progress.end()
    progress.stage_end("embed", 123.45)
    assert lines[2:] == ["embed: 20,288 of 57,638 texts, 338/s, about 2 min left", "embed: done in 123.5 s"]
    clock.now += 10 * EVERY
    progress.look()
    assert len(lines) == 4


def test_rows_of_an_earlier_run_count_as_done_and_not_in_the_rate(made):
    progress, lines, clock = made
    progress.stage_start("filter")
    progress.start("filter", "judge", "queries", 1_000, 900)
    clock.now += 40
    progress.advance(20)
    progress.look()
    assert lines[-1] == "filter judge: 920 of 1,000 queries, 0.5/s, about 3 min left"


def test_what_is_not_counted_says_how_long_it_took_so_far(made):
    progress, lines, clock = made
    progress.stage_start("report")
    clock.now += 45
    progress.look()
    progress.start("report", "measure", "queries", 20, 0)
    clock.now += 30
    progress.look()
    progress.end()
    progress.start("ingest", "read", "documents", 0, 0)
    progress.advance(5)
    clock.now += 3_600
    progress.look()
    assert lines[1:] == [
        "report: 45 s so far",
        "report measure: 0 of 20 queries, 30 s so far",
        "ingest read: 61 min so far",
    ]


def test_one_finished_training_is_no_rate_to_go_by(made):
    progress, lines, clock = made
    progress.stage_start("tune")
    progress.start("tune", "train", "trainings", 42, 0)
    for _ in range(2):
        progress.advance(1)
        clock.now += 30
        progress.look()
    assert lines[1:] == [
        "tune train: 1 of 42 trainings, 30 s so far",
        "tune train: 2 of 42 trainings, 0.033/s, about 20 min left",
    ]


def test_the_clock_is_looked_at_while_nothing_is_counted():
    lines, clock, seen = [], Clock(), threading.Event()
    with Lines(lambda line: (lines.append(line), seen.set()), clock) as progress:
        progress.working("probe")
        clock.now += 60
        assert seen.wait(20)
    assert lines == ["probe: 60 s so far"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5_000, "83 min"), (5_400, "1.5 h"), (9e4, "25.0 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_prints_the_start_and_the_end_of_every_stage_and_what_is_kept(tmp_path, workers):
    make_collection(tmp_path)
    lines = []
    run(config_for(tmp_path, workers=workers), progress=Lines(lines.append))
    stages = ["ingest", "embed", "index", "retrieve", "filter", "emit", "report"]
    assert [line.split(" in ")[0] for line in lines] == [
        f"{name}: {what}" for name in stages for what in ("started", "done")
    ]
    lines.clear()
    run(config_for(tmp_path, workers=workers), progress=Lines(lines.append))
    assert lines == [f"{name}: kept" for name in stages]
