"""Settings of evaluate, inspect and lr-find: a table each, one parser, one wording."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ablate.config import files, schema
from ablate.config.knobs.looking import EVALUATE, INSPECT, LR_FIND
from ablate.config.settings import described, of_values, of_words
from ablate.errors import AblateError
from ablate.study.measurement import wanted
from ablate.study.study import Measurement

TABLES = {table.command: table for table in (EVALUATE, INSPECT, LR_FIND)}
BESIDE = (*schema.BY_NAME, *files.groups())
COUNT = {"evaluate": "draws", "inspect": "images", "lr-find": "points"}
every_command = pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))


def faults(table, *words):
    return of_words(table, words, BESIDE if table is not EVALUATE else ()).faults


@every_command
def test_a_default_is_legal_or_none(table):
    for setting in table.each:
        assert setting.default is None or setting.knob.fault(setting.default) is None


@every_command
def test_names_differ_from_knobs_of_training_unless_they_mean_the_same(table):
    # `device` and `augment` mean the same for an evaluation as for training.
    both = {name for name in table.knobs if name in BESIDE}
    assert all(name == "device" or name.startswith("augment") for name in both)
    assert both == set() or table is EVALUATE


@every_command
def test_the_same_fault_gets_the_same_words(table):
    name = COUNT[table.command]
    kind = table.knobs[name].type
    low = kind.low
    legal = f"≥ {low}" if kind.high >= 2**63 - 1 else f"from {low} to {kind.high}"
    assert faults(table, f"{name}=0") == (
        f"{name}=0 is not legal: it takes a whole number {legal}",
    )
    assert faults(table, f"{name}=5", f"{name}=6")[0] == f"{name} is set twice"
    assert faults(table, f"{name}=5,6") == (
        f"{name}=5,6 names several values: {name} takes one, a whole number {legal}",
    )
    assert faults(table, f"{name}=[") == (
        f"'{name}=[' cannot be read: write {name}=value, a whole number {legal}",
    )
    (told,) = faults(table, f"{table.prefix}{name[:-1]}=5")
    assert told == f"there is no setting {table.prefix}{name[:-1]}; did you mean '{name}'?"


@every_command
def test_an_unknown_name_is_answered_with_a_pointer_to_help(table):
    (told,) = faults(table, f"{table.prefix}zzz=1")
    assert told.endswith(f"`ablate {table.command} --help` lists the settings")


def test_only_a_command_that_trains_passes_overrides_on():
    words = ("every=2", "norm=batch", "+x=1", "model.own=3")
    given = of_words(INSPECT, words, BESIDE)
    assert given.rest == words[1:]
    assert given.faults == ()
    assert given.values == {"every": 2, "images": 256, "train": True}
    assert given.explicit == {"every"}
    alone = of_words(INSPECT, words)
    assert len(alone.faults) == 3
    assert alone.rest == ()


@pytest.mark.parametrize("word", ["none", "null"])
def test_none_and_null_leave_a_part_out(word):
    given = of_words(EVALUATE, [f"views={word}", f"samples={word}", f"worst={word}"])
    assert given.faults == ()
    assert [given.values[n] for n in ("views", "samples", "worst")] == [None] * 3
    assert of_words(INSPECT, [f"every={word}"]).values["every"] is None
    assert of_words(INSPECT, [f"images={word}"]).faults != ()


def test_python_values_and_words_mean_the_same():
    words = ["views=none", "delete=scaled", "perturb=false", "augment=shift", "augment.flip=1"]
    values = {"views": None, "delete": "scaled", "perturb": False, "augment": "shift"}
    by_words, by_values = (
        of_words(EVALUATE, words),
        of_values(EVALUATE, values | {"augment.flip": 1}),
    )
    assert by_words == by_values
    assert of_values(EVALUATE, {"viws": 3}).faults == of_words(EVALUATE, ["viws=3"]).faults


def test_a_study_gets_the_same_faults_as_the_command():
    words = ("views=0", "viws=2", "draws=2", "delete=false")
    with pytest.raises(AblateError) as raised:
        wanted(Measurement(words, None))
    assert raised.value.faults == of_words(EVALUATE, words).faults
    assert len(raised.value.faults) == 3


@pytest.mark.parametrize("command", TABLES)
def test_help_lists_every_setting_in_80_columns_and_imports_nothing_heavy(command):
    code = (
        "import sys, atexit; from ablate import cli;"
        f"sys.argv = ['ablate', {command!r}, '--help'];"
        "heavy = {'torch', 'pandas', 'hydra', 'omegaconf', 'numpy', 'rich.console'};"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr));"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    for line in described(TABLES[command]).splitlines():
        assert f"  {line}" in done.stdout.splitlines()
        assert len(line) + 2 <= 80
    for setting in TABLES[command].each:
        assert f"    {setting.knob.name}=" in done.stdout
