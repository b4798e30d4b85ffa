"""``gidd-jax sweep STUDY``: a grid of replicas, trained or continued, with its table and figures."""

import argparse
import pathlib
import sys
import warnings

from gidd_jax.commands import flags

EXAMPLE = "gidd-jax sweep sudoku --data 4x4 --seeds 0 1 2 3 --coupling 0 .5 1 --steps 300 --out runs/a"

USAGE = "gidd-jax sweep STUDY [--out DIR] [--seeds N ...] [--coupling K ...] [dials and settings]"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Trains; prints the table on stdout. Run again with the same directory it goes on, or adds the new rows."""
    parser.add_argument("study", choices=flags.STUDIES, metavar="STUDY", help=", ".join(flags.STUDIES))
    known = [word for word in arguments[:1] if not word.startswith("-")]
    study = flags.study(known[0] if known else flags.STUDIES[0])
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="sweep directory [runs/STUDY]")
    presets = getattr(study, "presets", {})
    if presets:
        parser.add_argument("--preset", choices=tuple(presets), help="settings to start from; flags win over it")
    parser.add_argument("--profile", type=pathlib.Path, metavar="DIR", help="trace the second training call into DIR")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--host-devices", type=int, metavar="N", help="CPU only: devices to split rows over [cores]")
    parser.add_argument("--deterministic", action="store_true", help="GPU: bitwise repeatable, slower")
    parser.add_argument("--hosts", type=int, default=1, metavar="N", help="machines that share the rows and --out [1]")
    parser.add_argument("--host", type=int, default=0, metavar="I", help="which of them this is, from 0 [0]")
    parser.add_argument(
        "--coordinator", metavar="HOST:PORT", help="join them by jax.distributed (auto: ask the cluster)"
    )
    parser.add_argument("--help-all", action="help", help="this help, with every dial and setting explained")
    explained = "--help-all" in arguments
    flags.add_dials(parser, study.Hyper, explained)
    flags.add_settings(parser, study.Config, explained)
    args = parser.parse_args(arguments)

    config = flags.settings(args, study.Config, presets.get(getattr(args, "preset", None)))
    flags.prepare_jax(args.host_devices, args.deterministic)
    index, count = flags.join_hosts(args.coordinator, args.host, args.hosts)
    from gidd_jax import progress, sweep
    from gidd_jax.commands import plot

    hypers = sweep.grid(study, **flags.columns(args, config.dial))
    out = args.out or pathlib.Path("runs") / study.name
    # Orbax tells of shardings it restores without; ours are set afterwards.
    warnings.filterwarnings("ignore", module="orbax")
    try:
        bar, host = progress.quiet if args.quiet else progress.bar, sweep.Host(index, count)
        result = sweep.run(study, [(config, hypers)], out, bar, host=host, profile=args.profile)
    except sweep.Interrupted as stopped:
        print(f"gidd-jax: {stopped}", file=sys.stderr)
        return 130
    if index == 0:
        plot.show(out, result.table)
    return 0
