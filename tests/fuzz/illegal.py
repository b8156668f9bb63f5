"""Random requests that are wrong in one way or more, and others that may be."""

from __future__ import annotations

import math
from random import Random

from ablate.config import files, schema
from ablate.config.knob import Knob
from ablate.config.types import Choice, Flag, ListOf, Real, Whole
from tests.fuzz import agreement, legal

_STRANGE = (
    *("", " ", "''", '""', "'", '"', "null", "NULL", "true", "yes", "nan", "inf", "-inf", "-1"),
    *("1e400", "1e308", "-0.0", "0x10", "1_0", "10" * 20, "9" * 5000, "1." + "0" * 400, "1e-400"),
    *("[]", "{}", "[[]]", "[1,[2]]", "{a:1}", "{a:{b:1}}", "[,]", "[", "]", "{", "}", "(", ")"),
    *(
        "a=b",
        "=",
        "==",
        ":",
        ",",
        ",,",
        "a,,b",
        "\\",
        "\\'",
        "\n",
        "\t",
        "a\nb",
        "\x1b[31m",
        "\x07",
    ),
    *("\x7f", "\u202e", "\u200b", "é", "日本", "🙂", "\udcff", "٣", "½"),
    *("${seed}", "${nothing}", "${", "${}", "${oc.env:HOME}", "${oc.env:NOTHING}", "${seed", "$"),
    *("${ablate.key:}", "${oc.decode:'['}", "${${seed}}", "${.a}", "${..}", "%(a)s", "{0}", "%s"),
    *("choice(1,2)", "choice()", "choice(", "range(3)", "range(1e9)", "range(0,1,0)", "range()"),
    *("range(10000000000)", "range(0,1,1e-9)", "range(a)", "interval(0,1)", "glob(*)", "glob()"),
    *("glob(a,b)", "sort(2,1)", "sort()", "shuffle(1,2)", "tag(a,choice(1,2))", "tag(1)", "int(a)"),
    *("str([1])", "float(inf)", "bool(2)", "extend_list(1)", "json_str({a:1})", "nothing(1)"),
    *("../..", "/", "~", "*", "?", "-", "--", "-m", "--help", "a/b", "con", "." * 300, "a" * 300),
)
_WORDS = (
    *("=1", "a", "a=1", "+a=1", "++a=1", "~a", "~seed", "~model", "~seed=0", "+seed=1", "++seed=1"),
    *(
        "+model=cnn",
        "model@a=cnn",
        "model@=cnn",
        "@=1",
        "+study=nothing",
        "+study=",
        "study=dropout",
    ),
    *("+study=[]", "+study=..", "+study=null", "hydra/launcher=basic", "hydra/launcher=nothing"),
    *(
        "hydra.job.name=a",
        "hydra.job.nothing=1",
        "hydra=1",
        "hydra.verbose=true",
        "hydra/sweeper=a",
    ),
    *("model={name:cnn}", "model=[]", "model=[cnn,mlp]", "model=", "model=null", "dropout=0.5"),
    *("data=nothing", "data=folder", "data=custom", "data._target_=a", "data._target_=os.getcwd"),
    *("model._target_=nothing.Net", "model._target_=os", "model._target_=torch.nn.Linear"),
    *("model.activation._target_=a.b", "norm=custom", "norm._target_=a", "init=own", "seeds=1"),
    *(
        "seeds.nothing=1",
        "design=factorial",
        "scale=full",
        "launch=slurm",
        "slurm.gpus=2",
        "=",
        ".",
    ),
    *(
        "..",
        "a.b.c=1",
        "model.=1",
        ".model=1",
        "model..name=cnn",
        "optimizer.name=sgd",
        "-x",
        "--x",
    ),
    *("report=true", "rerun=all", "device=cuda", "name=published", "name=a/b", "name=.", "out="),
    *("stack.width=0", "stack.width=auto", "precision=bf16", "deterministic=true", "seed=0,1"),
    *(
        "'seed=1'",
        "seed =1",
        "seed= 1",
        " seed=1",
        "seed=1 ",
        "SEED=1",
        "seed:1",
        "seed",
        "seed=1=2",
    ),
    *("config=a", "defaults=[]", "_target_=a", "_self_", "hydra.run.dir=.", "hydra.mode=MULTIRUN"),
)


def words(chance: Random) -> tuple[list[str], bool]:
    """Draw the words of a request.

    Returns:
        The words, and whether one of them is surely wrong.
    """
    made = agreement.words(legal.request(chance)) if chance.random() < 0.3 else []
    made = chance.sample(made, min(len(made), 4))
    surely = False
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        more, wrong = _wrong(chance)
        made.insert(chance.randint(0, len(made)), more)
        surely |= wrong
    return made, surely


def _wrong(chance: Random) -> tuple[str, bool]:
    knob = chance.choice(schema.KNOBS)
    kind = chance.randrange(6)
    if kind == 0:
        return f"{_misspelled(chance, knob.name)}=1", True
    if kind == 1 and (beyond := _beyond(chance, knob)) is not None:
        return f"{_set(knob)}={beyond}", True
    if kind == 2 and legal.is_drawn(knob):  # legal by itself, but maybe of another option
        return f"{knob.name}={schema.shown(legal.value(chance, knob, None, {}))}", False
    if kind == 3:
        return chance.choice(_WORDS), False
    if kind == 4:
        group = chance.choice(list(files.groups()))
        return f"{group}={chance.choice(_STRANGE)}", False
    sign = chance.choice(("", "", "", "+", "++", "~"))
    return f"{sign}{_set(knob)}={chance.choice(_STRANGE)}", False


def _set(knob: Knob) -> str:
    return knob.name.removesuffix(".name") if knob.group in schema.OPTIONS else knob.name


def _misspelled(chance: Random, name: str) -> str:
    """Change a name until it is no knob's nor group's."""
    known = {*schema.BY_NAME, *files.groups(), "hydra", "seeds", "stack", "slurm", "checkpoint"}
    own = tuple(f"{slot}." for slot in schema.SLOTS)
    while name in known or name.startswith(own):
        place = chance.randrange(len(name))
        name = name[:place] + chance.choice("abcdefghijklmnopqrstuvwxyz_") + name[place:]
    return name


def _beyond(chance: Random, knob: Knob) -> str | None:
    """Write a value that is none of a knob's."""
    kind = knob.type.item if isinstance(knob.type, ListOf) else knob.type
    if isinstance(kind, Choice):
        return chance.choice(("nothing", "1", "[]", "0.5"))
    if isinstance(kind, Flag):
        return chance.choice(("nothing", "2", "[]", "0.5"))
    if isinstance(kind, Whole):
        return chance.choice((str(kind.low - 1), "0.5", "nothing", str(kind.high + 1)))
    if isinstance(kind, Real):
        tries = ["nothing", "nan", "inf", "true", "1e999"]
        if math.isfinite(kind.low):
            tries.append(repr(kind.low if kind.open_low else kind.low - 1e-9))
        if math.isfinite(kind.high):
            tries.append(repr(kind.high if kind.open_high else kind.high * (1 + 1e-9)))
        return chance.choice(tries)
    return None
