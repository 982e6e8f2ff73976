"""Collectives read from the text of compiled programs."""

import pytest

from shotverse_jax.fit.program import Collective, _bytes, collectives

TEXT = """\
HloModule jit_step, is_scheduled=true, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

%add.clone (x: f32[], y: f32[]) -> f32[] {
  ROOT %add.1 = f32[] add(%x, %y)
}

%inner_body (p.1: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
  %all-to-all.3 = (bf16[1,8]{1,0}, bf16[1,8]{1,0}) all-to-all(%a, %b), channel_id=3, replica_groups={{0,1}}
  ROOT %tuple = (s32[], bf16[4,8]{1,0}) tuple(%i, %all-to-all.3)
}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %all-gather.1 = f32[8,16]{1,0} all-gather(%w), channel_id=1, replica_groups={{0,1}}, dimensions={0}
  %all-reduce.2 = (f32[4]{0}, f32[]) all-reduce(%g, %h), channel_id=2, to_apply=%add.clone
  %while.1 = (s32[], bf16[4,8]{1,0}) while(%t), body=%inner_body, backend_config={"known_trip_count":{"n":"3"}}
  ROOT %t.2 = (s32[], f32[8]{0}) tuple(%i, %x)
}

%inner_cond (p.2: (s32[], bf16[4,8])) -> pred[] {
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

%branch_0 (q: f32[8]) -> f32[8] {
  %collective-permute.1 = pred[9]{0} collective-permute(%m), channel_id=9, source_target_pairs={{0,1},{1,0}}
  ROOT %r = f32[8]{0} copy(%q)
}

%branch_1 (q.1: f32[8]) -> f32[8] {
  ROOT %r.1 = f32[8]{0} copy(%q.1)
}

ENTRY %main.9 (a: f32[8]) -> f32[8] {
  %all-gather-start.5 = (f32[8]{0}, f32[16]{0}) all-gather-start(%a), channel_id=5, dimensions={0}
  %all-gather-done.5 = f32[16]{0} all-gather-done(%all-gather-start.5)
  %while.7 = (s32[], f32[8]) while(%t.0), body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %cond.1 = f32[8]{0} conditional(%i, %a, %a), branch_computations={%branch_0, %branch_1}
  %fusion.1 = f32[8]{0} fusion(%all-gather-done.5), calls=%branch_1, metadata={op_name="all-gather(x)"}
  ROOT %c = f32[8]{0} copy(%cond.1)
}
"""


def test_collectives_count_as_often_as_their_loops_go_round():
    assert collectives(TEXT) == {
        "all-gather": Collective(5 + 1, 5 * 8 * 16 * 4 + 16 * 4),  # a start and its done are one
        "all-reduce": Collective(5, 5 * (4 * 4 + 4)),
        "all-to-all": Collective(15, 15 * 2 * 8 * 2),
        "collective-permute": Collective(1, 9),
    }


def test_a_loop_of_unknown_rounds_counts_once():
    found = collectives(TEXT.replace("known_trip_count", "rounds"))
    assert found["all-to-all"].count == 1 and found["all-gather"].count == 2


def test_rounds_by_the_end_of_the_counter():
    """As in the programs of TPUs, which do not say how often a loop goes round."""
    text = TEXT.replace("known_trip_count", "rounds").replace(
        "while(%t), body", "while(%t), condition=%inner_cond, body"
    )
    limit = "  %n = s32[]{:T(128)} constant(3)\n"
    text = text.replace("  ROOT %lt", limit + "  ROOT %lt")
    assert collectives(text)["all-to-all"].count == 3
    assert collectives(text.replace("  ROOT %lt", limit + "  ROOT %lt"))["all-to-all"].count == 1  # which of the two?


def test_fusions_of_one_channel_are_one_collective():
    gather = "all-gather(%w), channel_id=1, replica_groups={{0,1}}, dimensions={0}\n"
    fusion = "%begun (w: f32[8,8]) -> f32[8,16] {\n  ROOT %all-gather.2 = f32[8,16]{1,0} " + gather + "}\n\n"
    call = "  %fusion.1 = f32[8,16]{1,0} fusion(%w), kind=kCustom, calls=%begun\n"
    text = TEXT.replace("%body (p", fusion + "%body (p").replace("  %all-reduce.2", call + "  %all-reduce.2")
    assert collectives(text) == collectives(TEXT)
    twice = TEXT.replace("  %all-reduce.2", "  %all-gather.2 = f32[8,16]{1,0} " + gather + "  %all-reduce.2")
    assert collectives(twice)["all-gather"].count == collectives(TEXT)["all-gather"].count + 5


def test_sizes_of_arrays_and_tuples():
    assert _bytes("f32[8,16]{1,0:T(8,128)}") == 512
    assert _bytes("(bf16[3]{0}, pred[5], f8e4m3fn[7], s4[3], u32[], token[])") == 6 + 5 + 7 + 2 + 4


def test_another_text_is_refused():
    with pytest.raises(ValueError, match="no entry computation"):
        collectives("module @jit_step { }")
