"""The command line. Each command imports what it needs when called, so that help is instant."""

from __future__ import annotations

import shlex
import sys
import traceback
from typing import Annotated

import typer

from ablate import streams
from ablate.config.knobs.looking import EVALUATE, INSPECT, LR_FIND
from ablate.config.settings import described
from ablate.config.trust import UntrustedError
from ablate.errors import AblateError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},  # every command inherits these
    help="""
Ablations of regularization: what did this dropout, norm, initializer, optimizer or schedule do to
my network, and would I see it again with other seeds?

\b
    ablate run                                     a small CNN on digits, in seconds
    ablate run data=mnist dropout=standard seed=1  another data set, with dropout
    ablate run -m norm=none,batch 'seed=range(5)'  a grid, trained together, none twice
    ablate plan -m norm=none,batch                 what that would train, and how
    ablate run +study=dropout_rate                 a question, its arms, and a verdict
    ablate studies                                 the studies that come with it
    ablate show results                            what has finished, what failed and why
    ablate report results/digits-cnn               its results: tables, figures, verdicts
    ablate evaluate results/digits-cnn             measure saved runs: views, calibration, ...
    ablate audit results/digits-cnn                train some runs again: are all bits the same?
    ablate data mnist                              fetch a data set in advance
    ablate lr-find optimizer=sgd                   which learning rates train at all
    ablate inspect model=deep_mlp                  activations and gradients, layer by layer

`--debug` anywhere shows tracebacks. Exit status: 0 all finished, 1 a run failed or diverged,
2 the request was wrong and nothing was started, 130 interrupted.
""",
)

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
_USAGE = "[OPTIONS] [OVERRIDES]..."


def _say_version(wanted: bool) -> None:
    if wanted:
        from ablate import __version__

        print(f"ablate {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option("--version", help="print the version", is_eager=True, callback=_say_version),
    ] = False,
) -> None:
    """Hold the commands together."""


_RUN_HELP = """
Train a network, or with -m a grid of them, and record every run.

OVERRIDES are Hydra's: any number of `knob=value` and `group=option`.

\b
    ablate run                                      a small CNN on digits
    ablate run model=mlp model.hidden=[]            softmax regression
    ablate run data=cifar10 epochs=3                downloads what is missing
    ablate run data=folder data.root=photos         your images, a directory per class
    ablate run model._target_=mynets.Net            your network, found in this directory
    ablate run dropout.dense=0.5 norm=batch seed=1  what an ablation is about
    ablate run -m norm=none,batch 'seed=range(5)'   a grid of runs, trained together

Groups: data model dropout norm init optimizer schedule regularize augment. conf/README.md explains
every knob; `ablate run --cfg job` prints them all with their values. Hydra's other flags work too:
--info, --config-dir, -cn, --hydra-help.

A run is recorded in out/name/key/. The same command again skips finished runs and resumes those
that were cut off; `rerun=failed`, `diverged` or `all` trains such runs again.

A class that you name here (model._target_=...) is trusted. One that a study's file or a
configuration names runs only if that file's folder is trusted:

\b
    ablate run +study=theirs.yaml --trust           once: the folder stays trusted
"""


@app.command(context_settings=_PASS_ON, options_metavar=_USAGE, help=_RUN_HELP)
def run(context: typer.Context) -> None:
    """Train the runs of a request."""
    from ablate.commands.run import serve

    raise typer.Exit(serve(context.args))


_PLAN_HELP = """
Show what `ablate run` would train with the same OVERRIDES, and train nothing.

\b
    ablate plan                                     one run: whether it is done, and its record
    ablate plan -m norm=none,batch 'seed=range(5)'  the arms of a grid, and their stacks
    ablate plan +study=dropout_rate scale=full      a study at its published size
    ablate plan +study=dropout_rate --sd 0.004      and what it can find
    ablate plan -m dropout.dense=0,0.5 --measure    and how long it would take

It lists the arms and their seeds, the stacks that runs are trained in and why, and what has
finished; for a study also how probable each verdict on its claims is, and how many seeds they need.
For that, --sd says how far seeds scatter: the standard deviation of the difference of two arms over
the seeds they share, or of the runs of one arm if they share none, in the unit of margins (0.004 is
0.4 points of error).

\b
    --sd 0.004                     for the study's metric; --sd-from 5 if five seeds gave it
    --sd val/error_spread=0.001    for another metric; may be repeated
    --sd recorded                  from the runs that have ended; that counts as a look at them
"""


@app.command(context_settings=_PASS_ON, options_metavar=_USAGE, help=_PLAN_HELP)
def plan(
    context: typer.Context,
    measure: Annotated[
        bool, typer.Option("--measure", help="also estimate time and memory from a few steps")
    ] = False,
    sd: Annotated[
        list[str] | None, typer.Option("--sd", help="how far seeds scatter, or `recorded`")
    ] = None,
    sd_from: Annotated[
        int | None, typer.Option("--sd-from", min=2, help="how many seeds gave the numbers of --sd")
    ] = None,
) -> None:
    """Show what would be trained."""
    from ablate.commands.plan import serve

    raise typer.Exit(serve(context.args, measure, sd or (), sd_from))


_SHOW_HELP = """
Show the state of a sweep: finished, running, interrupted, diverged, failed.

\b
    ablate show results                 every sweep, and why runs failed
    ablate show results/digits-cnn --watch
"""


@app.command(help=_SHOW_HELP)
def show(
    path: Annotated[str, typer.Argument(help="the folder of a run, a sweep, or any above")],
    watch: Annotated[bool, typer.Option("--watch", help="keep updating until Ctrl-C")] = False,
) -> None:
    """Show the state of a sweep."""
    from pathlib import Path

    from rich.console import Console

    from ablate.commands.show import show_state, watch_state

    if watch:
        watch_state(Path(path), Console())
        raise typer.Exit(0)
    raise typer.Exit(show_state(Path(path), Console()))


_STUDIES_HELP = """
List the shipped studies: question, source, arms, and how many runs they train.

\b
    ablate studies
    ablate studies --scale full         the number of runs at the published size
"""


@app.command(help=_STUDIES_HELP)
def studies(
    scale: Annotated[str, typer.Option(help="count the runs of quick or full")] = "quick",
) -> None:
    """List the shipped studies."""
    from rich.console import Console

    from ablate.commands.studies import show_studies
    from ablate.config.knobs.run import SCALES
    from ablate.errors import nearest

    if scale not in SCALES:
        raise AblateError(f"--scale {scale}: it is quick or full{nearest(scale, SCALES)}")
    show_studies(Console(), scale)


_REPORT_HELP = """
Write the comparison report of all runs below PATHS: pages, tables, figures, data.

\b
    ablate report results/digits-cnn
    ablate report results/digits-cnn --metric test/loss --out seen
    ablate report results/a results/b   two sweeps, compared with each other

report.html is one file that needs no network; report.md is for a repository; tables/ has CSV and
LaTeX, figures/ SVG and PNG, frames/ parquet. Name an arm as the report does:
--baseline "dropout.dense=0.0 norm=none".
"""


@app.command(help=_REPORT_HELP)
def report(
    paths: Annotated[list[str], typer.Argument(help="folders of sweeps, of runs, or any above")],
    baseline: Annotated[
        str | None, typer.Option(help="the arm to compare with [default: the one at rest]")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="what is compared [default: the study's, else test/error]")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="where to write it [default: report/ in the first path]")
    ] = None,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="stop waiting for failed runs, and record that")
    ] = False,
) -> None:
    """Write the report of some runs."""
    from ablate.commands.report import serve

    serve(paths, baseline, metric, out, give_up=give_up)


_DATA_HELP = """
Fetch a data set if it is missing, and verify its files; or show how a folder of images would be
used: classes and counts of each split, sizes, what is left out, duplicates, and a sheet of its
images.

\b
    ablate data mnist
    ablate data cifar10 --root /data
    ablate data ~/photos                                the folder, as data=folder reads it
    ablate data ~/photos data.image_size=64 data.on_bad=skip
    ablate data --clear-cache                           delete decoded images that are kept
"""


@app.command(help=_DATA_HELP)
def data(
    name: Annotated[
        str | None,
        typer.Argument(help="mnist, fashion_mnist, kmnist, cifar10, cifar100, svhn; or a folder"),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(help="data.root=DIR; for a folder data.image_size=64, ...")
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(help="where its files lie [default: ABLATE_DATA, else the cache folder]"),
    ] = None,
    sheet: Annotated[
        str | None,
        typer.Option(help="where the sheet of images goes [default: NAME-images.png, here]"),
    ] = None,
    clear_cache: Annotated[
        bool, typer.Option("--clear-cache", help="delete decoded images in the cache folder")
    ] = False,
) -> None:
    """Fetch and verify a data set, or show a folder of images."""
    from ablate.commands import data as command

    if clear_cache:
        raise typer.Exit(command.clear_cache())
    if name is None:
        raise AblateError("ablate data takes a data set or a folder; see `ablate data --help`")
    if command.is_folder(name):
        from rich.console import Console

        from ablate.commands.show_data import show_folder

        raise typer.Exit(show_folder(name, settings or [], sheet, Console()))
    raise typer.Exit(command.fetch_and_verify(name, command.root_of(settings or [], root)))


_EVALUATE_HELP = f"""
Evaluate a saved run again, or all finished runs below a path.

\b
    ablate evaluate results/digits-cnn            all runs of a sweep
    ablate evaluate results/digits-cnn views=8 samples=50
    ablate evaluate results/digits-cnn augment=shift augment.flip=0.5

Everything that applies to a run is measured. SETTINGS are `name=value`; their defaults:

\b
{described(EVALUATE)}

More views, samples and draws are more precise; none and false leave a part out. Always measured:
calibration, with a temperature fitted on the validation images, and confusion. Results go into
`evaluate` in the record, whose metrics stay as they are; curves and pictures into the run's
folder/evaluate/, for several runs also into path/evaluate/. Exit status 1: some of several runs
could not be evaluated.
"""


_Trust = Annotated[
    bool,
    typer.Option("--trust", help="trust the code that records below PATH name, from now on"),
]


@app.command(help=_EVALUATE_HELP)
def evaluate(
    path: Annotated[str, typer.Argument(help="the folder of a run, a sweep, or any above")],
    settings: Annotated[list[str] | None, typer.Argument(help="name=value, any number")] = None,
    trust: _Trust = False,
) -> None:
    """Evaluate saved runs again."""
    from ablate.commands.evaluate.serve import serve

    raise typer.Exit(serve(path, settings or [], trust))


_AUDIT_HELP = """
Train recorded runs again, in a folder of their own, and compare them bit by bit.

\b
    ablate audit results/digits-cnn                three runs, of different arms
    ablate audit results/digits-cnn --runs 10
    ablate audit results/digits-cnn/0a1b2c3d4e5f6071

It compares all numbers of each epoch, the metrics and the weights. If a run differs, it names the
first epoch that does and the largest differences, and what has changed in machine, versions,
threads, data and your own code. Runs are computed as they were: fused or looped, with as many
threads. Each is trained alone; on a GPU a stack's width can change bits.

Exit status: 0 all the same to the last bit; 1 one differs, or could not be trained; 2 nothing was
started; 130 interrupted.
"""


@app.command(help=_AUDIT_HELP)
def audit(
    path: Annotated[str, typer.Argument(help="the folder of a run, a sweep, or any above")],
    runs: Annotated[int, typer.Option(min=1, help="how many runs are trained again")] = 3,
    out: Annotated[
        str | None, typer.Option(help="where to train them [default: audit/ here]")
    ] = None,
    trust: _Trust = False,
) -> None:
    """Train recorded runs again, and compare."""
    from ablate.commands.audit.serve import serve

    raise typer.Exit(serve(path, runs, out, trust))


_Arms = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OVERRIDES",
        help='an arm, by its overrides: --arm "init=normal init.std=1"; any number of them',
    ),
]

_LR_FIND_HELP = f"""
Learning-rate range test: the loss against the rate, and which rate to start with.

\b
    ablate lr-find optimizer=sgd              one run, its rate rising step by step
    ablate lr-find optimizer=sgd mode=grid    constant rates, all trained at once
    ablate lr-find -m norm=none,batch         arms in one picture

Settings, among the OVERRIDES of `ablate run`, and their defaults:

\b
{described(LR_FIND)}

Results: out/name/lr_find/.
"""


@app.command("lr-find", context_settings=_PASS_ON, options_metavar=_USAGE, help=_LR_FIND_HELP)
def lr_find(context: typer.Context, arm: _Arms = None) -> None:
    """Test which learning rates train."""
    from ablate.commands.lr_find.serve import serve

    raise typer.Exit(serve(context.command_path, context.args, arm or ()))


_INSPECT_HELP = f"""
Activations and gradients, layer by layer, at the start and after training.

\b
    ablate inspect model=deep_mlp             trains it, unless it has been
    ablate inspect model=deep_mlp every=50    looks on the way, and records no run
    ablate inspect -m norm=none,batch         arms in one picture
    ablate inspect model=deep_mlp train=false --arm "init=normal init.std=0.01" \\
        --arm "init=normal init.std=1" --arm init=xavier_normal

Settings, among the OVERRIDES of `ablate run`, and their defaults:

\b
{described(INSPECT)}

Results: the run's folder/inspect/, for several runs out/name/inspect/.
"""


@app.command(context_settings=_PASS_ON, options_metavar=_USAGE, help=_INSPECT_HELP)
def inspect(context: typer.Context, arm: _Arms = None) -> None:
    """Look at the layers of runs."""
    from ablate.commands.inspect.serve import serve

    raise typer.Exit(serve(context.command_path, context.args, arm or ()))


def main() -> None:
    """Run the command line; user errors become one message and an exit status."""
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    with streams.outliving():
        try:
            app(arguments, prog_name="ablate")
        except AblateError as error:
            if debug:
                traceback.print_exception(error)
            sys.exit(_say(error))


def _say(error: AblateError) -> int:
    faults = [streams.visible(fault) for fault in error.faults]
    count = len(faults)
    if count == 1:
        print(f"ablate: {faults[0]}", file=sys.stderr)
    else:
        print(f"ablate: {count} things are wrong with this request:", file=sys.stderr)
        print("\n".join(f"  - {fault}" for fault in faults), file=sys.stderr)
    if isinstance(error, UntrustedError):
        print(f"    {shlex.join(['ablate', *sys.argv[1:], '--trust'])}", file=sys.stderr)
    if error.status == 2:
        print("Nothing was started.", file=sys.stderr)
    return error.status
