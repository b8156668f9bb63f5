"""Command lines that people may mistype: real ones, mangled."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from random import Random

_ROOT = Path(__file__).parents[2]
_PAGES = (_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md")))
_HELP = (
    "run model=mlp model.hidden=[]",
    "run data=folder data.root=photos",
    "run model._target_=mynets.Net",
    "run dropout.dense=0.5 norm=batch seed=1",
    "run -m norm=none,batch 'seed=range(5)'",
    "run --cfg job",
    "run --info all",
    "run --config-dir conf -cn mine",
    "run --hydra-help",
    "run -sc install=bash",
    "plan +study=dropout_rate scale=full",
    "plan --measure epochs=3",
    "studies --scale full",
    "show results --watch",
    "report results/digits-cnn --baseline norm=none --metric test/error --out seen",
    "data mnist --root files",
    "evaluate results/digits-cnn views=8 samples=50 augment.flip=0.5 delete=scaled",
    "lr-find optimizer=sgd mode=grid low=1e-3 high=1 points=5",
    "lr-find --arm 'init=normal init.std=1' --arm norm=batch steps=10",
    "inspect model=deep_mlp every=50 images=20 train=false",
    "inspect -m norm=none,batch --arm seed=1",
    "--version",
    "--help",
)
_MORE = (
    *("--help", "-m", "--multirun", "-", "--", "--cfg", "--info", "=", "a=", "=a", "results", ".."),
    *(
        "seed=0,1",
        "+study=digits",
        "--arm",
        "--out",
        "--scale",
        "-c",
        "-p",
        "-r",
        "model",
        "~model",
    ),
    *(
        "'",
        '"',
        "${a}",
        "é",
        "🙂",
        "\udcff",
        "\x1b[2J",
        "9" * 400,
        "--version",
        "hydra.verbose=true",
    ),
)
_CHARACTERS = "=,.'\"[]{}()$~+-@/\\: \n\tabz019é🙂\udcff\x07*?%&|;<>!#"


def corpus() -> list[list[str]]:
    """List command lines that are right, each in words: of the pages, and of the help."""
    shown = [
        line
        for page in _PAGES
        for line in re.findall(r"^\$ ablate (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    return [shlex.split(line, comments=True) for line in (*shown, *_HELP)]


def words(chance: Random, lines: list[list[str]]) -> list[str]:
    """Mangle a line; `--debug`, which asks for tracebacks, is left out."""
    made = list(chance.choice(lines))
    for _ in range(chance.choice((1, 1, 2, 3))):
        made = _mangled(chance, made, lines)
    return [word.replace("\0", "") for word in made if word != "--debug"]


def _mangled(chance: Random, made: list[str], lines: list[list[str]]) -> list[str]:
    kind, place = chance.randrange(9), chance.randrange(len(made) + 1)
    if kind == 0:
        return made[:place]
    if kind == 1:
        return chance.sample(made, len(made))
    if kind == 2:
        return made[:place] + made[place + 1 :]
    if kind == 3:
        return made[:place] + made[place - 1 : place] + made[place:]
    if kind == 4:
        return [*made[:place], chance.choice(_MORE), *made[place:]]
    if kind == 5:
        return [*made[:place], *chance.choice(lines)[1:]]
    if not made:
        return made
    word = made.pop(place := min(place, len(made) - 1))
    at = chance.randrange(len(word) + 1)
    if kind == 6:
        word = word[:at] + word[at + 1 :]
    elif kind == 7:
        word = word[:at] + chance.choice(_CHARACTERS) + word[at:]
    else:
        word = word[:at] + word[at : at + 3] * 2 + word[at:]
    return [*made[:place], word, *made[place:]]
