"""What `hnmine plan` says of memory, held against the largest process of real runs."""

from pathlib import Path

import pytest

from tests.benchmarks.memory import compare


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [(20_000, 1_000, 384, {"filter": {"rule": "percent"}}), (10_000, 1_500, 32, {})],
    ids=["vectors", "fit"],
)
def test_memory_is_predicted_within_a_quarter(tmp_path: Path, case: tuple[int, int, int, dict[str, object]]) -> None:
    predicted, measured = compare(case, tmp_path)
    assert predicted == pytest.approx(measured, rel=0.25)
