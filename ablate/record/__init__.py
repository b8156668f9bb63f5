"""The record of a run: a folder for each run, written so that a kill at any moment loses nothing.

record.json     what the run is, and its results; replaced whole, so a reader never sees a part
checkpoint.pt   during training, the state to resume from; at the end, the selected weights
correct.npy     which test images it got right, a bit each (numpy.packbits)
record.1.json   the old record, if `rerun` trained the run again; its weights are checkpoint.1.pt
run.log         what happened, with any traceback
.hydra/         the configuration that Hydra composed
.lock           held by the process that trains the run; the kernel frees it if the process dies
.lease          in its place where locks do not work, with host, process and a heartbeat (`locks`)

The record, the checkpoint and the array carry checksums (`checksum`). Damaged files are set aside,
as record.1.json or under the next free number, and the run is trained again (`damage`).

Above the runs' folders lie the ledger of their sweep, ledger.jsonl (see `ablate.study.ledger`), and
code/, what they were trained on (see `snapshot`).

The content of record.json is declared in `content` and published as ../record.schema.json.
"""

from ablate.record.aside import set_aside_wrong_kinds
from ablate.record.checkpoint import (
    finish,
    has_lost_weights,
    load_state,
    load_weights,
    save_state,
    set_aside_if_ended,
    settle,
    settle_if_measured,
)
from ablate.record.claims import RunClaim, claim, claimed_elsewhere, status_now
from ablate.record.content import (
    ENDED,
    SCHEMA,
    STATUSES,
    Code,
    Environment,
    Epoch,
    LedgerLine,
    Record,
    Status,
    Try,
    code_in,
)
from ablate.record.correct import read_correct
from ablate.record.damage import mend
from ablate.record.finding import find, none_below
from ablate.record.ledger import LEDGER, latest_line, with_line
from ablate.record.locks import flock_works
from ablate.record.names import CHECKPOINT, CORRECT, HYDRA, LOG, RECORD, STATE
from ablate.record.run_folder import (
    DIED,
    Standing,
    has_ended,
    read,
    read_and_check,
    read_if_sound,
    read_whole,
    standing,
    whole,
    write,
)
from ablate.record.writing import replacing, write_json

__all__ = [
    "CHECKPOINT",
    "CORRECT",
    "DIED",
    "ENDED",
    "HYDRA",
    "LEDGER",
    "LOG",
    "RECORD",
    "SCHEMA",
    "STATE",
    "STATUSES",
    "Code",
    "Environment",
    "Epoch",
    "LedgerLine",
    "Record",
    "RunClaim",
    "Standing",
    "Status",
    "Try",
    "claim",
    "claimed_elsewhere",
    "code_in",
    "find",
    "finish",
    "flock_works",
    "has_ended",
    "has_lost_weights",
    "latest_line",
    "load_state",
    "load_weights",
    "mend",
    "none_below",
    "read",
    "read_and_check",
    "read_correct",
    "read_if_sound",
    "read_whole",
    "replacing",
    "save_state",
    "set_aside_if_ended",
    "set_aside_wrong_kinds",
    "settle",
    "settle_if_measured",
    "standing",
    "status_now",
    "whole",
    "with_line",
    "write",
    "write_json",
]
