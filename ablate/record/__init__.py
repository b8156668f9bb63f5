"""The run record: one folder a run, written so that a kill at any moment loses nothing.

record.json     what the run is and what came out; the old version or the new one, never a part
checkpoint.pt   while training, the state to go on from; at the end, the selected weights
record.1.json   what the record was before `rerun` trained the run again; its weights lie beside it
run.log         what happened, with any traceback
.hydra/         what Hydra composed
.lock           held by the process that trains the run, freed by the kernel when it dies

What record.json holds is declared in `content` and published as ../record.schema.json.
"""

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
from ablate.record.content import ENDED, SCHEMA, STATUSES, Environment, Epoch, Record, Status
from ablate.record.run_folder import (
    CHECKPOINT,
    RECORD,
    STATE,
    Standing,
    claim,
    claimed_elsewhere,
    find,
    has_ended,
    read,
    read_whole,
    standing,
    write,
)
from ablate.record.writing import replacing, write_json

__all__ = [
    "CHECKPOINT",
    "ENDED",
    "RECORD",
    "SCHEMA",
    "STATE",
    "STATUSES",
    "Environment",
    "Epoch",
    "Record",
    "Standing",
    "Status",
    "claim",
    "claimed_elsewhere",
    "find",
    "finish",
    "has_ended",
    "has_lost_weights",
    "load_state",
    "load_weights",
    "read",
    "read_whole",
    "replacing",
    "save_state",
    "set_aside_if_ended",
    "settle",
    "settle_if_measured",
    "standing",
    "write",
    "write_json",
]
