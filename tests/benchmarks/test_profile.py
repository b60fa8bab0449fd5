"""What a profile is made of, and how it reaches the document."""

from pathlib import Path

import pytest

from benchmarks import document, hlo_text, profile_unroll

TEXT = """HloModule m, entry_computation_layout={(f32[2,3])->f32[2,3]}

%fused (p.1: f32[4,9]) -> f32[4,9] {
  %p.1 = f32[4,9]{1,0} parameter(0)
  ROOT %tanh.1 = f32[4,9]{1,0} tanh(%p.1), metadata={op_name="while/Tanh"}
}

%body.1 (arg.1: (s32[], f32[4,9])) -> (s32[], f32[4,9]) {
  %arg.1 = (s32[], f32[4,9]{1,0}) parameter(0)
  %x.1 = f32[4,9]{1,0} get-tuple-element(%arg.1), index=1
  %w.1 = f32[4,4]{1,0} constant({...})
  %dot.1 = f32[4,9]{1,0} dot(%w.1, %x.1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %fusion.1 = f32[4,9]{1,0} fusion(%dot.1), kind=kLoop, calls=%fused
  ROOT %tuple.1 = (s32[], f32[4,9]{1,0}) tuple(%x.1, %fusion.1)
}

%body.2 (arg.2: (s32[], f32[4,9])) -> (s32[], f32[4,9]) {
  %arg.2 = (s32[], f32[4,9]{1,0}) parameter(0)
  %add.2 = f32[4,9]{1,0} add(%arg.2, %arg.2)
  %row.2 = f32[7,4,9]{2,1,0} dynamic-update-slice(%add.2, %add.2)
  ROOT %tuple.2 = (s32[], f32[4,9]{1,0}) tuple(%add.2)
}

%body.3 (arg.3: (s32[], f32[4,9])) -> (s32[], f32[4,9]) {
  %arg.3 = (s32[], f32[4,9]{1,0}) parameter(0)
  %add.3 = f32[4,9]{1,0} add(%arg.3, %arg.3)
  ROOT %tuple.3 = (s32[], f32[4,9]{1,0}) tuple(%add.3)
}

ENTRY %main (a: f32[4,9]) -> f32[4,9] {
  %a = f32[4,9]{1,0} parameter(0)
  %while.1 = (s32[], f32[4,9]{1,0}) while(%a), condition=%c.1, body=%body.1
  %while.2 = (s32[], f32[4,9]{1,0}) while(%while.1), condition=%c.2, body=%body.2
  %while.3 = (s32[], f32[4,9]{1,0}) while(%while.2), condition=%c.3, body=%body.3
  ROOT %copy.3 = f32[4,9]{1,0} copy(%a)
}
"""


def test_what_the_instructions_are():
    found = hlo_text.instructions(TEXT)
    assert found["dot.1"][1:] == ("forward", "product", "[4,4] x [4,9] -> [4,9]")
    assert found["fusion.1"][1:] == ("forward", "nonlinearity", "tanh: [4,9]")
    assert found["add.2"][1:] == ("backward", "arithmetic", "add: [4,9]")
    assert found["add.3"].where == "backward"
    assert found["row.2"][1:3] == ("backward", "kept rows")
    assert found["copy.3"][1:] == ("outside", "move", "copy: [4,9]")
    assert "tanh.1" not in found


def test_what_is_alike_in_the_blocks_is_one_row():
    found = hlo_text.instructions(TEXT)
    _, both = profile_unroll.rows([(found["add.2"], 2.0), (found["add.3"], 1.0)], {"problem": "digits"})
    assert (both["name"], both["what"], both["ms"]) == ("add.2", "add: [4,9]", 3.0)


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("profile"))
    return profile_unroll.profile("digits", "L2O-DM", 3, 2, "embedded", folder)


def test_a_profile_of_a_window(profiled):
    found, wall = profiled
    assert sum(ms for _, ms in found) == pytest.approx(wall)
    kinds = {(instruction.where, instruction.kind) for instruction, _ in found}
    assert kinds >= {(where, kind) for where in ("forward", "backward") for kind in ("product", "nonlinearity")}
    results = profile_unroll.rows(found, {"problem": "digits", "optimizer": "L2O-DM"})
    assert "forward" in profile_unroll.table(results, wall)


def run(benchmark, results, **arguments):
    made_by = {"date": "2025-01-31T12:00:00", "commit": "0123456789abcdef", "versions": {"tensorflow": "2.21.0"}}
    where = {"cpu": "a cpu", "cores": 2, "device": "cpu"}
    named = {"benchmark": benchmark} if benchmark else {}
    return {**made_by, "machine": where, "arguments": named | arguments, "results": results, "load": 0.1}


def test_the_document_has_a_place_for_everything_and_is_written_twice_alike(profiled):
    text = (Path(document.ROOT) / "docs" / "performance.md").read_text()
    names = {"problem": "mnist", "optimizer": "L2O-DM", "phase": "training"}
    runs = [
        run(None, [names | {"method": "ours", "ms_median": 12.345}, names | {"method": "jax", "note": "no JAX here"}]),
        run("memory", [names | {"over": "truncation", "size": 1000, "method": "plain", "note": "too large"}]),
        run("profile", profile_unroll.rows(*profiled[:1], names), ms=profiled[1], unroll_length=3, **names),
        run("hlo", [names | {"method": "program", "meta_batch_size": 64, "ms": 1.5, "ratio": 2.5}]),
    ]
    written = document.write(text, runs)
    assert document.write(written, runs) == written
    for row in (
        "| mnist | L2O-DM | training | ours | 12.3 |  |  |  |  |",
        "| mnist | L2O-DM | training | jax | no JAX here |  |  |  |  |",
        "| truncation | 1,000 | plain autodiff | L2O-DM | too large |  |",
        "| mnist | L2O-DM | training | program | 64 | 1.50 | 2.50 |",
    ):
        assert row in written
    assert written.count("a cpu, 2 cores, cpu; tensorflow 2.21.0; commit 0123456789, 2025-01-31.") == 4


def test_of_each_optimizer_the_newest_profile():
    row = {"where": "forward", "kind": "product", "ms": 1.0}
    runs = [
        run("profile", [row], problem="mnist", optimizer=o, ms=ms, unroll_length=20)
        for o, ms in (("A", 1.0), ("B", 2.0), ("A", 3.0))
    ]
    found = [line for line in document.profile(runs) if "ms per step" in line]
    assert [line.split(",")[:2] for line in found] == [
        ["A on mnist", " 3.00 ms per step"],
        ["B on mnist", " 2.00 ms per step"],
    ]


def test_a_place_without_an_end():
    with pytest.raises(ValueError, match="without '<!-- end of hlo -->'"):
        document.write(document.markers("hlo")[0], [run("hlo", [])])
