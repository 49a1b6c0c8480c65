"""jetpress report | compare | gc"""

from __future__ import annotations

import argparse
import json

from jetpress.deploy import console
from jetpress.deploy.errors import BenchmarkInvalid
from jetpress.pipeline.cli.arguments import Commands, command


def add(commands: Commands) -> None:
    """What runs left behind."""
    report = command(commands, "report", _report, "print a finished run's report and say where its page is")
    report.add_argument("run", metavar="RUN", help="a run's folder or its name in runs/")
    text = "which of several runs is faster: side by side, where all can run"
    versus = command(commands, "compare", _compare, text, works_long=True)
    versus.add_argument("first", metavar="A", help="a run's folder or its name in runs/")
    versus.add_argument("others", metavar="B", nargs="+", help="the others; each is held against A")
    versus.add_argument("--device", metavar="USER@HOST", help="where to measure (default: here)")
    command(commands, "runs", _runs, "list all runs: target, verdict, speed, accuracy, size on disk, date")
    collect = command(commands, "gc", _gc, "remove what no run in runs/ needs")
    collect.add_argument("--all", action="store_true", help="also what the runs need: everything starts anew")
    collect.add_argument("--dry-run", action="store_true", help="remove nothing, say what would go")
    collect.add_argument(
        "--older-than", type=float, metavar="DAYS", help="also what runs need that were last used before that"
    )


def _report(options: argparse.Namespace) -> int:
    from jetpress.pipeline.summary import find_run

    folder = find_run(options.run)
    if options.json:
        print((folder / "report.json").read_text())
    else:
        print((folder / "report.md").read_text())
        console.say(f"page: {folder / 'report.html'}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from jetpress.pipeline.compare import compare, in_words

    found = compare(options.first, *options.others, device=options.device)
    print(json.dumps(asdict(found)) if options.json else in_words(found))
    return 0 if found.is_known else BenchmarkInvalid.exit_code


def _runs(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from jetpress.benchmarks.report.wording import size as in_bytes
    from jetpress.pipeline import listing
    from jetpress.pipeline.store.runs import home

    rows, stored = listing.runs(home()), listing.size(home() / ".store")
    if options.json:
        print(json.dumps({"home": str(home()), "runs": [asdict(row) for row in rows], "store_bytes": stored}))
        return 0
    if not rows:
        console.say(f"there are no runs in {home()}/")
    else:
        print("\n".join(listing.table(rows)))
    total = sum(row.bytes for row in rows)
    console.say(
        f"{len(rows)} runs, {in_bytes(total)}; what they share in {home()}/.store: {in_bytes(stored)} "
        "(`jetpress gc` removes what none of them needs)"
    )
    return 0


def _gc(options: argparse.Namespace) -> int:
    from jetpress.pipeline.store.collect import collect
    from jetpress.pipeline.store.runs import home
    from jetpress.pipeline.store.store import Store

    found = collect(
        Store(home() / ".store"),
        everything=options.all,
        older_than=options.older_than,
        dry_run=options.dry_run,
    )
    gone, stays = (sum(folder.size for folder in part) for part in (found.gone, found.stays))
    if options.json:
        counted = {
            "removed": len(found.gone),
            "freed_bytes": gone,
            "kept": len(found.stays),
            "kept_bytes": stays,
        }
        print(json.dumps({**counted, "dry_run": options.dry_run}))
        return 0
    for folder in found.gone if options.dry_run else ():
        print(f"{folder.size / 2**20:8.1f} MiB  {folder.stage or 'unfinished':<14} {folder.path}")
    console.say(
        f"{'would remove' if options.dry_run else 'removed'} {len(found.gone)} folders, {gone / 2**20:.1f} MiB; "
        f"kept {len(found.stays)} folders, {stays / 2**20:.1f} MiB"
    )
    return 0
