"""Random legal requests train alike in every way: fused, looped, and in plain torch."""

from __future__ import annotations

import traceback
from collections import Counter
from random import Random

import pytest

from ablate.plan.request import Request
from tests.asking import runs_of
from tests.fuzz import agreement
from tests.fuzz.legal import Overrides
from tests.fuzz.turns import MILLION, SEED, again, turns

FEW = 8  # requests of a part, in `make test`
PARTS = 4
SHRUNK = 3  # of the requests that fail in a part: it takes as long as many more requests


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_legal_requests_train_alike_fused_looped_and_in_plain_torch(part: int) -> None:
    failed, seen = [], Counter[str]()
    for number in turns(part * MILLION, FEW, 0.6 / PARTS):
        seed = f"legal {SEED} {number}"
        chance = Random(seed)
        overrides: Overrides = {}
        refused = 0
        try:
            overrides, refused = agreement.legal_request(chance)
            verdict = agreement.judged(agreement.stack_of(chance, overrides))
        except Exception:
            verdict = agreement.Verdict([traceback.format_exc()])
        seen += Counter(requests=1, refused=refused, chaotic=verdict.stable < 1)
        if verdict.faults:
            few = len(failed) < SHRUNK
            least = agreement.shrunk(overrides, seed) if few else overrides
            faults = "\n    ".join(verdict.faults)
            failed.append(f"{again(number)}\n  {agreement.command(least)}\n    {faults}")
    print(f"part {part}: {dict(seen)}")
    assert not failed, "\n".join(failed)


def test_a_request_is_planned_alike_with_and_without_hydra() -> None:
    for number in turns(10 * MILLION, 3, 0.02):
        overrides, _ = agreement.legal_request(Random(f"alike {SEED} {number}"))
        (run,) = runs_of(Request(tuple(agreement.words(overrides))))
        assert run.key == agreement.planned(overrides).key, agreement.command(overrides)
