import pytest

from hnmine.runtime.cpu_flags import multiplies_bfloat16


@pytest.mark.parametrize(
    ("flags", "multiplies"),
    [("fpu avx512f avx512_vnni", False), ("fpu avx512_bf16", True), ("amx_bf16 amx_int8", True), ("avx512_bf", False)],
)
def test_bfloat16_is_known_by_its_flags(tmp_path, flags, multiplies):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    assert multiplies_bfloat16(tmp_path / "cpuinfo") is multiplies


def test_where_the_system_describes_no_cpu_it_is_not_multiplied(tmp_path):
    assert not multiplies_bfloat16(tmp_path / "missing")
