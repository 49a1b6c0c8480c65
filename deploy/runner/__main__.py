"""The command line of the runner; see the package's own text for what it offers."""

import argparse
import os
import sys
import time
from typing import Any, Dict, List, Optional

from .events import emit, tell
from .failures import NoGpu, RunnerError, ToolMissing

INTERRUPTED = 130


def main(arguments: Optional[List[str]] = None, home: Optional[str] = None) -> int:
    """Run one command; every foreseen failure becomes one `error` event and its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    options = _parser(home).parse_args(words)
    command, started = options.command or "all", time.time()
    try:
        _dispatch(command, options)
        return _end(command, 0, started)
    except RunnerError as error:
        if isinstance(error, NoGpu):
            emit("skipped", command=command, exit=error.code, what=error.what, hint=error.hint)
        else:
            emit("error", command=command, exit=error.code, what=error.what, hint=error.hint)
        tell("error: %s%s" % (error.what, "\n  hint: " + error.hint if error.hint else ""))
        return _end(command, error.code, started)
    except KeyboardInterrupt:
        tell("interrupted")
        return _end(command, INTERRUPTED, started)
    except MemoryError:
        emit("error", command=command, exit=5, what="out of memory", hint="stop other programs or add swap")
        return _end(command, 5, started)
    except OSError as error:
        emit("error", command=command, exit=5, what=str(error), hint="check the disk and its permissions")
        tell("error: %s" % error)
        return _end(command, 5, started)


def _end(command: str, code: int, started: float) -> int:
    emit("done", command=command, exit=code, seconds=time.time() - started)
    return code


def _dispatch(command: str, options: Any) -> None:
    if command == "doctor":
        from . import doctor

        doctor.run(_plan_of(options.bundle), options.bundle or ".")
    elif command == "sensors":
        from . import sensors

        sensors.run(options.seconds)
    else:
        _with_bundle(command, options)


def _with_bundle(command: str, options: Any) -> None:
    """build, infer and bench share what they read; the heavy imports come after the bundle is verified."""
    from .manifest import Bundle

    bundle = Bundle(options.bundle)
    if getattr(options, "places", None):
        bundle.place(options.places)
    try:
        from . import bench, build, infer, profile
    except ImportError as error:
        raise ToolMissing("numpy cannot be imported: %s" % error, "sudo apt install python3-numpy")
    out = getattr(options, "out", None)
    engines = getattr(options, "engines", None) or os.path.join(options.bundle, "engines")
    if command in ("build", "all"):
        force, other = getattr(options, "force", False), getattr(options, "other_device", False)
        build.run(bundle, out or engines, force, other)
    if command in ("infer", "all"):
        infer.run(bundle, engines, out or engines)
    if command == "profile":
        profile.run(bundle, engines, out or "")
    if command in ("bench", "all"):
        asked = _asked(bundle, options)
        bench.run(bundle, engines, out or (engines if command == "all" else ""), asked)
    if command == "compare":
        other = Bundle(options.other_bundle)
        bench.compare(bundle, engines, other, options.other_engines, out or "", _asked(bundle, options))


def _asked(bundle: Any, options: Any) -> Any:
    from . import bench

    said = {name: getattr(options, name, None) for name in ("seconds", "runs")}
    return bench.asked(
        bundle,
        lock=getattr(options, "lock_clocks", False),
        against=getattr(options, "against", ""),
        concurrent=getattr(options, "concurrent", False),
        **said,
    )


def _plan_of(folder: Optional[str]) -> Optional[Dict[str, Any]]:
    """What doctor must look for: what the bundle's plan needs, where there is one."""
    if not folder:
        return None
    from .manifest import Bundle

    return Bundle(folder).plan


def _parser(home: Optional[str]) -> argparse.ArgumentParser:
    """`home` is the folder of a zipapp that lies inside a bundle; there, --bundle need not be said."""
    inside = home is not None and os.path.isfile(os.path.join(home, "plan.json"))
    place = home if inside else None
    parser = argparse.ArgumentParser(
        prog="runner.pyz", description="Build, check and measure engines on this device."
    )
    parser.set_defaults(bundle=place)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = not inside

    def add(name: str, text: str, bundle: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        if bundle:
            command.add_argument(
                "--bundle", default=place, required=place is None, help="folder with manifest.json"
            )
        return command

    build = add("build", "build one engine for every model of the bundle")
    build.add_argument("--out", help="where the engines go (default: engines/ in the bundle)")
    build.add_argument("--force", action="store_true", help="build again what is there already")
    build.add_argument(
        "--other-device", action="store_true", help="build though the bundle is for another board"
    )
    _add_places(build)
    infer = add("infer", "run the bundle's samples through each engine")
    infer.add_argument("--engines", help="what `build --out` wrote (default: engines/ in the bundle)")
    infer.add_argument("--out", help="where the outputs go (default: beside the engines)")
    _add_places(infer)
    bench = add("bench", "measure all models, interleaved")
    bench.add_argument("--engines", help="what `build --out` wrote (default: engines/ in the bundle)")
    bench.add_argument("--seconds", type=_positive, help="time for each model (default: the plan's, else 3)")
    bench.add_argument("--runs", type=int, help="runs of each model at least (default: the plan's, else 64)")
    bench.add_argument("--out", help="also write bench.json into this folder")
    bench.add_argument("--lock-clocks", action="store_true", help="highest clocks meanwhile; always restored")
    bench.add_argument(
        "--against", choices=("trtexec",), default="", help="also in turns with NVIDIA's own tool"
    )
    _add_places(bench)
    bench.add_argument("--concurrent", action="store_true", help="also all places at the same time")
    compare = add("compare", "measure one engine of each of two bundles side by side")
    compare.add_argument("--engines", help="of the first bundle (default: engines/ in it)")
    compare.add_argument("--other-bundle", required=True, help="the second bundle")
    compare.add_argument("--other-engines", required=True, help="its engines")
    compare.add_argument(
        "--seconds", type=_positive, help="time for each (default: the first plan's, else 3)"
    )
    compare.add_argument("--runs", type=int, help="runs of each at least")
    compare.add_argument("--out", help="also write bench.json into this folder")
    compare.add_argument(
        "--lock-clocks", action="store_true", help="highest clocks meanwhile; always restored"
    )
    profile = add("profile", "what each layer of each model takes")
    profile.add_argument("--engines", help="what `build --out` wrote (default: engines/ in the bundle)")
    profile.add_argument("--out", help="also write profile.json into this folder")
    sensors = add("sensors", "power, heat and clocks, twenty times a second", bundle=False)
    sensors.add_argument("--seconds", type=_positive, default=1.0)
    doctor = add("doctor", "what is here, what is missing, and the remedy", bundle=False)
    doctor.add_argument("--bundle", default=place, help="ask for what this bundle needs")
    return parser


def _add_places(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--places",
        type=_places,
        help="where each model is to run: gpu, dla0, dla1, with commas (default: gpu)",
    )


def _places(text: str) -> List[str]:
    from .manifest import PLACES

    names = text.split(",")
    if not set(names) <= set(PLACES) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError("%s: each of %s at most once" % (text, ", ".join(PLACES)))
    return names


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError("%s is not between 0 and 86400 seconds" % text)
    return value


if __name__ == "__main__":
    sys.exit(main())
