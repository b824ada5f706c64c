"""What a processor is known to lack."""

import pytest

from anp_tf import processor


@pytest.mark.parametrize(
    ("text", "emulates"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", True),
        ("processor : 0\nflags\t\t: fpu avx512f avx512_bf16 amx_tile\n", False),
        ("Features\t: fp asimd bf16\n", False),
        ("Features\t: fp asimd\nFeatures\t: fp asimd\n", True),
        ("Hardware: unknown\n", False),
        (None, False),
    ],
)
def test_bfloat16_is_emulated_where_the_instructions_are_known_to_be_missing(
    text, emulates, tmp_path, monkeypatch
):
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(processor, "CPU_INFO", path)
    assert processor.emulates_bfloat16() is emulates
