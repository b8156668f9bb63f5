"""How many small faults in the code the tests notice.

Runs the tests once under coverage, in a copy of the tree, to learn which test executes which line.
Then draws faults over executed lines, from each room of `ablate/` in turn. For each, it writes the
fault into the copy, and runs the tests that execute its line, then the other tests of their files,
until one fails. A fault that no test notices has survived.

    python scripts/mutate.py                     60 faults, into build/mutate/
    python scripts/mutate.py --count 8 tests/train/test_stack.py tests/ground/test_metrics.py

The same command continues where it was stopped. `outcomes.json` in that folder holds every fault;
if no test should notice a survivor, write why into its `reason`, which is kept and listed. Tests
run one at a time: 60 faults take hours, since a survivor costs all of its tests. Other work on the
machine does no harm, since endless loops are ended by CPU time. Lines that tests execute only in
separate processes count as not executed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[1]
COPIED: Final = ("ablate", "conf", "scripts", "tests", "results/published")
SPARED: Final = 60  # seconds of CPU time that a mutated run may use beyond five times its usual
WAITED: Final = (
    10  # how many times as long it may take by the clock, since other work may slow it down
)

_TURNED: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}

Tests = Mapping[str, float]  # node id -> seconds it took; those that passed
Executed = Mapping[str, Mapping[int, Sequence[str]]]  # file -> line -> tests that execute it


@dataclass
class Mutation:
    """A fault and its outcome.

    Attributes:
        file: Path from the root of the repository.
        line: Its line, from 1.
        kind: What was changed.
        span: First and last offset in the file, in bytes.
        before: The original code.
        after: The mutated code.
        tests: Number of tests that execute the line.
        outcome: ``caught``, ``timeout`` (counts as caught) or ``survived``; empty before it is
            tried.
        by: The test that failed.
        seconds: How long it took.
        reason: Why no test should notice a survivor, written by hand.
    """

    file: str
    line: int
    kind: str
    span: tuple[int, int]
    before: str
    after: str
    tests: int = 0
    outcome: str = ""
    by: str = ""
    seconds: float = 0.0
    reason: str = ""

    @property
    def room(self) -> str:
        """The room of the file; the modules at the root are one."""
        parts = Path(self.file).parts
        return parts[1] if len(parts) > 2 else "ground"


def main(arguments: Sequence[str]) -> int:
    """Draw and try; the exit status is 1 if a fault survived without a written reason."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tests", nargs="*", default=["tests"], help="files or folders of tests")
    parser.add_argument("--count", type=int, default=60, help="faults to draw")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--marks", default="not long and not gpu", help="which tests: pytest's -m")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "mutate")
    asked = parser.parse_args(arguments)
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    tree = out / "tree"
    how = {"tests": asked.tests, "marks": asked.marks, "seed": asked.seed, "count": asked.count}
    log = out / "outcomes.json"
    if (begun := _read(log)) and begun["asked"] != how:
        parser.error(f"{log} holds other faults ({begun['asked']}): move it away, or name an --out")
    if begun:  # a stop may have left a fault in the copy
        shutil.copytree(out / "sound", tree / "ablate", dirs_exist_ok=True)
    else:
        _copy(tree)
        shutil.copytree(tree / "ablate", out / "sound", dirs_exist_ok=True)
        if not (out / "executed.json").exists():
            observe(tree, out, asked.tests, asked.marks)
        _, executed = seen(out)
        drawn = draw(tree, executed, asked.seed, asked.count)
        begun = {"asked": how, "commit": _commit(), "mutations": [asdict(one) for one in drawn]}
        _write(log, begun)
    passed, executed = seen(out)
    mutations = [Mutation(**one) for one in begun["mutations"]]
    for number, one in enumerate(mutations, 1):
        if not one.outcome:
            attempt(tree, one, passed, executed)
            _write(log, begun | {"mutations": [asdict(each) for each in mutations]})
        print(f"{number:3} {told(one)}", flush=True)
    return summed_up(mutations)


def told(one: Mutation) -> str:
    """Describe a fault in a line."""
    change = " ".join(f"{one.before}  ->  {one.after}".split())
    by = f" by {one.by}" if one.by else ""
    return f"{one.outcome}{by} ({one.seconds:.0f} s): {one.file}:{one.line}, {one.kind}: {change}"


def summed_up(mutations: Sequence[Mutation]) -> int:
    """Print counts and survivors; return the exit status."""
    survivors = [one for one in mutations if one.outcome == "survived"]
    print(f"{len(mutations) - len(survivors)} of {len(mutations)} caught")
    for one in survivors:
        print(f"survived: {one.file}:{one.line}: {one.reason or 'no reason is written'}")
    return int(any(not one.reason for one in survivors))


# -- which test executes which line ----------------------------------------------------------------


def observe(tree: Path, out: Path, tests: Sequence[str], marks: str) -> None:
    """Run the tests under coverage; write down which passed, and what each executes."""
    from coverage import CoverageData

    data = out / ".coverage"
    (out / "coveragerc").write_text(f"[run]\nsource = {tree / 'ablate'}\ndata_file = {data}\n")
    command = ["-m", "coverage", "run", f"--rcfile={out / 'coveragerc'}", "-m", "pytest", "-q"]
    # Newer Pythons' own monitoring notes a line only the first time that it is executed.
    seen = {"MUTATE_SEEN": str(out / "tests.json"), "COVERAGE_CORE": "ctrace"}
    environment = _environment(tree) | seen
    subprocess.run(
        [sys.executable, *command, "-p", "mutate_watch", "-p", "no:xdist", "-m", marks, *tests],
        cwd=tree,
        env=environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}{os.pathsep}{_watch(out)}"},
    )
    passed: dict[str, float] = json.loads((out / "tests.json").read_text())
    found = CoverageData(str(data))
    found.read()
    executed = {
        str(Path(file).relative_to(tree)): {
            line: kept
            for line, names in found.contexts_by_lineno(file).items()
            if (kept := [name for name in names if name in passed])
        }
        for file in sorted(found.measured_files())
        if file.endswith(".py")  # coverage also follows templates
    }
    (out / "executed.json").write_text(json.dumps(executed))


def _watch(out: Path) -> Path:
    """Write a plugin of pytest that tells coverage which test is running; return its folder."""
    folder = out / "watch"
    folder.mkdir(exist_ok=True)
    (folder / "mutate_watch.py").write_text(_WATCH)
    return folder


_WATCH: Final = """
import json, os
import coverage, pytest

TOOK, FAILED = {}, set()

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    coverage.Coverage.current().switch_context(item.nodeid)
    return (yield)

def pytest_runtest_logreport(report):
    TOOK[report.nodeid] = TOOK.get(report.nodeid, 0) + report.duration
    if not report.passed:
        FAILED.add(report.nodeid)

def pytest_sessionfinish():
    passed = {name: seconds for name, seconds in TOOK.items() if name not in FAILED}
    with open(os.environ["MUTATE_SEEN"], "w") as file:
        json.dump(passed, file)
"""


def seen(out: Path) -> tuple[Tests, Executed]:
    """Read what `observe` wrote."""
    passed = json.loads((out / "tests.json").read_text())
    executed = json.loads((out / "executed.json").read_text())
    return passed, {
        file: {int(line): names for line, names in lines.items()}
        for file, lines in executed.items()
    }


# -- the draw --------------------------------------------------------------------------------------


def draw(tree: Path, executed: Executed, seed: int, count: int) -> list[Mutation]:
    """Draw faults: from every room in turn, and within a room from every kind in turn."""
    rooms: dict[str, dict[str, list[Mutation]]] = defaultdict(lambda: defaultdict(list))
    for file, lines in executed.items():
        for one in possible(file, (tree / file).read_bytes(), seed):
            if one.line in lines:
                one.tests = len(lines[one.line])
                rooms[one.room][one.kind].append(one)
    chance = random.Random(seed)
    queues = []
    for room in sorted(rooms):
        kinds = [chance.sample(some, len(some)) for _, some in sorted(rooms[room].items())]
        chance.shuffle(kinds)
        queues.append(_in_turn(kinds))
    chance.shuffle(queues)
    drawn: list[Mutation] = []
    for one in _in_turn(queues):
        if all((one.file, one.line) != (other.file, other.line) for other in drawn):
            drawn.append(one)
        if len(drawn) == count:
            break
    return drawn


def _in_turn(queues: Sequence[Sequence[Mutation]]) -> list[Mutation]:
    """Take one item from each queue in turn, until all are empty."""
    longest = max(map(len, queues), default=0)
    return [queue[place] for place in range(longest) for queue in queues if place < len(queue)]


def possible(file: str, source: bytes, seed: int) -> Iterator[Mutation]:
    """List a file's faults; if an expression has several of a kind, the seed draws one."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    chance = random.Random(f"{seed} {file}")
    for node in _code(ast.parse(source)):
        by_kind: dict[str, list[tuple[ast.expr, str]]] = defaultdict(list)
        for kind, old, new in _faults(node):
            by_kind[kind].append((old, new))
        for kind, some in by_kind.items():
            old, new = chance.choice(some)
            assert old.end_lineno is not None, "it was parsed"
            assert old.end_col_offset is not None, "it was parsed"
            first = starts[old.lineno - 1] + old.col_offset
            last = starts[old.end_lineno - 1] + old.end_col_offset
            before = source[first:last].decode()
            yield Mutation(file, old.lineno, kind, (first, last), before, new)


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """Walk code that computes: no annotations, asserts or f-strings (whose offsets are inexact)."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.Assert | ast.JoinedStr):
                yield from _code(child)


def _faults(node: ast.AST) -> Iterator[tuple[str, ast.expr, str]]:
    """List a node's possible faults: the kind, the expression, and its replacement."""
    match node:
        case ast.Compare(ops=[op]):
            for turned in _TURNED[type(op)]:
                yield "comparison", node, _with(node, ops=[turned()])
        case ast.Constant(value=bool()):
            return
        case ast.Constant(value=int() | float() as number):
            yield "constant", node, f"({number + 1!r})"
            yield "constant", node, f"({number - 1!r})"
        case ast.BinOp(op=ast.Add() | ast.Sub() as op) if not _is_text(node):
            turned_op = ast.Sub() if isinstance(op, ast.Add) else ast.Add()
            yield "sign", node, _with(node, op=turned_op)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield "sign", node, f"({ast.unparse(operand)})"
        case ast.BoolOp(values=values):
            for place in range(len(values)):
                rest = values[:place] + values[place + 1 :]
                short = rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
                yield "condition", node, f"({ast.unparse(short)})"
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return
        case ast.If(test=test) | ast.IfExp(test=test):
            yield "condition", test, "True"
        case ast.comprehension(ifs=[test, *_]):
            yield "condition", test, "True"
        case ast.Call(args=args):
            for place in range(len(args) - 1):
                one, other = args[place : place + 2]
                starred = isinstance(one, ast.Starred) or isinstance(other, ast.Starred)
                if not starred and ast.dump(one) != ast.dump(other):
                    swapped = [*args[:place], other, one, *args[place + 2 :]]
                    yield "arguments", node, _with(node, args=swapped)


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(
        isinstance(side, ast.JoinedStr | ast.List | ast.Tuple)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in sides
    )


def _with(node: ast.expr, **changes: Any) -> str:
    """Write a node with other fields, in brackets, since the code around it stays."""
    other = copy.copy(node)
    for name, value in changes.items():
        setattr(other, name, value)
    return f"({ast.unparse(other)})"


# -- one fault -------------------------------------------------------------------------------------


def attempt(tree: Path, one: Mutation, passed: Tests, executed: Executed) -> None:
    """Write a fault into the tree, run its tests, and note the outcome; the file is put back."""
    chosen = in_order(executed[one.file][one.line], passed)
    path = tree / one.file
    source = path.read_bytes()
    first, last = one.span
    assert source[first:last].decode() == one.before, "the copy is as it was drawn from"
    started = time.monotonic()
    try:
        path.write_bytes(source[:first] + one.after.encode() + source[last:])
        usual = sum(passed[name] for name in chosen)
        one.outcome, one.by = _tried(tree, chosen, round(5 * usual) + SPARED)
    finally:
        path.write_bytes(source)
    one.seconds = round(time.monotonic() - started, 1)


def in_order(names: Sequence[str], passed: Tests) -> list[str]:
    """Order tests: those that execute the line, file by file, the quickest file first; then others.

    The other tests of their files are needed since coverage credits a shared fixture to the first
    test that asks for it, though others may check it.
    """
    cost: dict[str, float] = defaultdict(float)
    for name in names:
        cost[_file(name)] += passed[name]
    files = sorted(cost, key=lambda file: (cost[file], file))
    direct = [name for file in files for name in passed if _file(name) == file and name in {*names}]
    others = [name for file in files for name in passed if _file(name) == file]
    return list(dict.fromkeys([*direct, *others]))


def _file(name: str) -> str:
    return name.partition("::")[0]


def _tried(tree: Path, names: Sequence[str], limit: int) -> tuple[str, str]:
    """Run tests until one fails, within a limit of CPU time; return the outcome and the test.

    Each file has its own process, since its tests share much in memory.
    """
    for _, of_a_file in groupby(names, key=_file):
        outcome, by = _tried_together(tree, list(of_a_file), limit)
        if outcome != "survived":
            return outcome, by
    return "survived", ""


def _tried_together(tree: Path, names: Sequence[str], limit: int) -> tuple[str, str]:
    listed = tree.parent / "chosen.txt"
    listed.write_text("\n".join(names))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no"]
    process = subprocess.Popen(
        [*command, "-p", "no:xdist", f"@{listed}"],
        cwd=tree,
        env=_environment(tree),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + SPARED)),
    )
    try:
        printed, _ = process.communicate(timeout=WAITED * limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "timeout", ""
    if process.returncode == -signal.SIGXCPU:
        return "timeout", ""
    if process.returncode == 0:
        return "survived", ""
    failed = [x for x in printed.splitlines() if x.startswith(("FAILED ", "ERROR ", "ERROR: "))]
    return "caught", failed[0].split(" - ")[0] if failed else f"exit status {process.returncode}"


# -- the copy --------------------------------------------------------------------------------------


def _copy(tree: Path) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    leave = shutil.ignore_patterns("__pycache__", ".*_cache")
    for name in COPIED:
        shutil.copytree(REPOSITORY / name, tree / name, ignore=leave)
    for file in REPOSITORY.iterdir():
        if file.is_file():
            shutil.copy(file, tree)


def _environment(tree: Path) -> dict[str, str]:
    path = os.pathsep.join(map(str, (tree, tree / "ablate" / "plugins")))
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True
    )
    return done.stdout.strip()


def _read(log: Path) -> dict[str, Any]:
    return dict(json.loads(log.read_text())) if log.is_file() else {}


def _write(log: Path, content: Mapping[str, Any]) -> None:
    """Replace the file whole: a stop in between must not lose the outcomes."""
    new = log.with_suffix(".new")
    new.write_text(json.dumps(content, indent=1, ensure_ascii=False))
    new.replace(log)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
