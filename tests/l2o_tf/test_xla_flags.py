"""XLA's options: wide vectors where there are any, and nothing that a user has not chosen otherwise."""

import pytest

from l2o_tf.common import xla_cache, xla_flags

WIDE = "--xla_cpu_prefer_vector_width=512"


@pytest.mark.parametrize(
    ("processor", "given", "expected"),
    [
        ("flags: avx2 avx512f avx512vl", {}, WIDE),
        ("flags: avx2 avx512f", {"XLA_FLAGS": "--xla_dump_to=x"}, f"--xla_dump_to=x {WIDE}"),
        ("flags: avx512f", {"XLA_FLAGS": "--xla_cpu_prefer_vector_width=256"}, "--xla_cpu_prefer_vector_width=256"),
        ("flags: avx2", {}, None),
    ],
)
def test_wide_vectors(processor, given, expected, monkeypatch):
    monkeypatch.setattr(xla_cache, "processor", lambda: processor)
    environment = dict(given)
    xla_flags.prefer_wide_vectors(environment)
    assert environment.get("XLA_FLAGS") == expected
