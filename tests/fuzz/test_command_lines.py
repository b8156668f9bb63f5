"""Whatever is typed, a wrong request gets one message, and no command line a traceback."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import illegal, mangled
from tests.fuzz.served import Answer, scratch, serve
from tests.fuzz.turns import MILLION, SEED, again, turns

__all__ = ["scratch"]

FEW = 25  # command lines of each property, in `make test`
_COMMANDS = (("run",), ("run",), ("run", "-m"), ("plan",), ("plan", "-m"), ("inspect",))

# Lines that random trials found to end in a traceback.
FOUND = (
    "plan -m ++regularize.ema=${oc.decode:'['}",
    "run --hydra-help epochs=3",
    "run --hydra-help run&",
    f"report {'9' * 400}",
    f"report results --out {'9' * 400}",
    f"show {'9' * 400}",
)


def shown(words: list[str], answer: Answer, fault: str, number: int) -> str:
    line = " ".join(["ablate", *map(shlex.quote, words)])
    err = answer.err[-600:].replace("\n", "\n    ")
    return f"{again(number)}\n  {ascii(line)[1:-1][:600]}\n    {fault[-1500:]}\n    {err}"


def wrong_refusal(answer: Answer, surely: bool) -> str:
    """Say what is wrong with the answer to a request that may be wrong."""
    if answer.fault:
        return answer.fault
    if answer.status in (None, 0):
        return "accepted" if surely else ""
    if answer.status != 2 and "download" not in answer.err:
        return f"exit status {answer.status}"
    return "" if answer.refusals == 1 else f"{answer.refusals} messages"


def test_what_once_gave_a_traceback_gives_one_message(scratch: Path) -> None:
    answers = {line: serve(line.split(), seconds=60) for line in FOUND}
    assert {line: wrong_refusal(a, surely=True) for line, a in answers.items()} == dict.fromkeys(
        FOUND, ""
    )


@pytest.mark.slow
def test_an_illegal_request_gets_one_message_within_two_seconds(scratch: Path) -> None:
    failed, seen = [], Counter[str]()
    for number in turns(11 * MILLION, FEW, 0.2):
        chance = Random(f"illegal {SEED} {number}")
        more, surely = illegal.words(chance)
        words = [*chance.choice(_COMMANDS), *more]
        answer = serve(words, seconds=2)
        if answer.too_long and (longer := serve(words, seconds=30)).status in (None, 0):
            answer = longer  # it is legal after all, and large
        seen[str(answer.status)] += 1
        if fault := wrong_refusal(answer, surely):
            failed.append(shown(words, answer, fault, number))
    print(f"exit statuses: {dict(seen)}")
    assert not failed, "\n".join(failed)


@pytest.mark.slow
def test_a_mangled_command_line_gives_no_traceback(scratch: Path) -> None:
    failed, seen, lines = [], Counter[str](), mangled.corpus()
    for number in turns(12 * MILLION, FEW, 0.18):
        words = mangled.words(Random(f"mangled {SEED} {number}"), lines)
        answer = serve(words, seconds=30)
        seen[str(answer.status)] += 1
        if answer.fault:
            failed.append(shown(words, answer, answer.fault, number))
    print(f"exit statuses: {dict(seen)}")
    assert not failed, "\n".join(failed)
