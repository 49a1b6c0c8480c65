"""The command line of the runner; see the package's own text for what it offers."""

import getpass
import os
import sys
import time
from typing import TYPE_CHECKING, List, Optional

from .arguments import SLOTS, parser
from .system.events import Unheard, deafen, emit, put, stand, tell
from .system.failures import BundleError, NoGpu, RunnerError, ToolMissing

if TYPE_CHECKING:
    from argparse import Namespace

    from .engines.manifest import Bundle
    from .measure.bench import Asked

INTERRUPTED = 130
UNHEARD = 5


def main(arguments: Optional[List[str]] = None, home: Optional[str] = None) -> int:
    """Run one command; every foreseen failure becomes one `error` event and its exit code."""
    stand()
    words = sys.argv[1:] if arguments is None else arguments
    options = parser(home).parse_args(words)
    try:
        if options.command == "boot" and options.unit:
            return _unit(options.root)
        return _run(options.command or "all", options)
    except Unheard as error:
        deafen()
        tell("error: events go to standard output, which cannot be written: %s" % error)
        tell("  hint: leave it open, and read it to its end; a file needs room on its disk")
        return UNHEARD


def _run(command: str, options: "Namespace") -> int:
    started = time.time()
    try:
        _dispatch(command, options)
        return _end(command, 0, started)
    except RunnerError as error:
        if isinstance(error, NoGpu):
            emit("skipped", command=command, exit=error.code, what=error.what, hint=error.hint)
        else:
            emit("error", command=command, exit=error.code, what=error.what, hint=error.hint)
        if command != "session":  # whoever started it says so
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


def _dispatch(command: str, options: "Namespace") -> None:
    if command == "doctor":
        from . import doctor

        doctor.run(_bundle_of(options.bundle), options.bundle or ".")
    elif command == "sensors":
        from .board import sensors

        sensors.run(options.seconds)
    elif command == "verify":
        _verify(options)
    elif command == "session":
        _session(options)
    elif command in SLOTS:
        _slots(command, options)
    else:
        _with_bundle(command, options)


def _with_bundle(command: str, options: "Namespace") -> None:
    """build, infer and bench share what they read; the heavy imports come after the bundle is verified."""

    bundle = _allowed(command, options)
    if getattr(options, "places", None):
        bundle.place(options.places)
    try:
        from .engines import build, infer
        from .measure import profile
        from .release import health, trial
    except ImportError as error:
        raise ToolMissing("numpy cannot be imported: %s" % error, "sudo apt install python3-numpy")
    out = getattr(options, "out", None)
    engines = getattr(options, "engines", None) or os.path.join(options.bundle, "engines")
    if command == "health":
        trial.prefer_to_die()
        health.run(bundle, engines)
    if command in ("build", "all"):
        if getattr(options, "only_chosen", False):
            bundle.only_chosen()
        force, other = getattr(options, "force", False), getattr(options, "other_device", False)
        build.run(bundle, out or engines, force, other, getattr(options, "lock_clocks", False))
    if command in ("infer", "all"):
        infer.run(bundle, engines, out or engines)
    if command == "serve":
        _serve(bundle, engines, options)
    if command == "profile":
        profile.run(bundle, engines, out or "", options.seconds)
    if command in ("bench", "all"):
        _bench(bundle, engines, out or (engines if command == "all" else ""), options)
    if command == "compare":
        _compare(bundle, engines, out or "", options)


def _compare(bundle: "Bundle", engines: str, out: str, options: "Namespace") -> None:
    from .engines.manifest import Bundle
    from .measure import bench, session

    others = [Bundle(folder) for folder in options.other_bundle]
    if len(others) != len(options.other_engines):
        raise BundleError("each --other-bundle needs its --other-engines", "give as many of both")
    every = zip([bundle] + others, [engines] + options.other_engines)  # noqa: B905 - Python 3.6
    subjects = [session.Subject(chr(ord("A") + place), *one) for place, one in enumerate(every)]
    bench.compare(subjects, out, _asked(bundle, options))


def _bench(bundle: "Bundle", engines: str, out: str, options: "Namespace") -> None:
    """The engines alone, or the application; as the board is, or in all of its power modes."""
    from .measure import bench

    bundle.any_power_mode = getattr(options, "any_power_mode", False)
    if getattr(options, "power_modes", None):
        from .measure import power

        limits = power.Limits(options.watts, options.millijoules)
        words = _video_words(bundle, engines, options)
        terms = power.Terms(options.power_modes, options.allow_reboot, limits, words)
        power.run(bundle, engines, out, _asked(bundle, options), terms)
        return
    if getattr(options, "video", None):
        from .video import bench as video

        if options.only_chosen:
            bundle.only_chosen()
        more = (options.streams, options.decoder, options.real_time, options.seconds or 0.0)
        video.run(bundle, engines, out, video.Asked(options.video, *more))
        return

    bench.run(bundle, engines, out, _asked(bundle, options), getattr(options, "places", None) or ())


def _serve(bundle: "Bundle", engines: str, options: "Namespace") -> None:
    from .video import serve

    serve.run(bundle, engines, serve.Asked(*[getattr(options, name) for name in serve.Asked._fields]))


def _video_words(bundle: "Bundle", engines: str, options: "Namespace") -> List[str]:
    """The same `bench --video`, for a process of its own."""
    if not options.video:
        return []
    words = ["bench", "--bundle", bundle.root, "--engines", engines, "--decoder", options.decoder]
    words += ["--streams", str(options.streams)] if options.streams else []
    words += ["--seconds", str(options.seconds)] if options.seconds else []
    words += ["--real-time"] if options.real_time else []
    return words + [word for one in options.video for word in ("--video", one)]


def _allowed(command: str, options: "Namespace") -> "Bundle":
    """The bundle, and those that it is compared with, as far as this board's file asks for signatures."""
    from .engines.manifest import Bundle
    from .release import slots
    from .trust import release

    own = False
    for folder in getattr(options, "other_bundle", []) + [options.bundle]:
        own = slots.is_own(getattr(options, "root", slots.ROOT), folder)
        release.require(folder, is_own=own)
    bundle = Bundle(options.bundle)
    if own and command in ("infer", "profile", "bench"):
        bundle.only_chosen()  # a slot has no other engine
    return bundle


def _verify(options: "Namespace") -> None:
    from .trust import release

    claims = release.check(options.folder, options.signers, options.target, options.state)
    emit("release", **claims._asdict())
    told = (claims.name, claims.sequence, claims.target, claims.signer, release.day(claims.expires))
    tell("%s: release %d for %s by %s, until %s" % told)


def _slots(command: str, options: "Namespace") -> None:
    from .release import deployment, slots

    if command == "deploy":
        told = [getattr(options, name) for name in deployment.Asked._fields]
        deployment.deploy(options.folder, deployment.Asked(*told))
    elif command in ("rollback", "confirm"):
        getattr(deployment, command)(slots.only(options.root, options.name))
    else:
        for place in slots.places(options.root):
            if command == "boot":
                deployment.boot(place)
                continue
            for _, slot in sorted(place.slots().items()):
                deployment.said(place, slot)


def _unit(root: str) -> int:
    """A file, and no events."""
    from .release import deployment

    put(deployment.unit(root, getpass.getuser()))
    return 0


def _session(options: "Namespace") -> None:
    """One session of `bench`, in a process of its own."""
    from .engines.manifest import Bundle
    from .measure import session
    from .system import processes

    processes.end_with_parent()
    subjects = []
    for name, folder, engines in options.subject:
        bundle = Bundle(folder)
        if options.places:
            bundle.place(options.places)
        bundle.any_power_mode = options.any_power_mode
        if not name:
            bundle.also_mapped()
        subjects.append(session.Subject(name, bundle, engines))
    terms = session.Terms(*[getattr(options, name) for name in session.Terms._fields])
    emit("session", engines=session.as_plain(session.run(subjects, terms)))


def _asked(bundle: "Bundle", options: "Namespace") -> "Asked":
    from .measure import bench

    return bench.asked(
        bundle,
        seconds=getattr(options, "seconds", None),
        runs=getattr(options, "runs", None),
        sessions=getattr(options, "sessions", None),
        max_seconds=getattr(options, "max_seconds", None),
        lock=getattr(options, "lock_clocks", False),
        against=getattr(options, "against", ""),
        concurrent=getattr(options, "concurrent", False),
    )


def _bundle_of(folder: Optional[str]) -> Optional["Bundle"]:
    """What doctor looks into for what is needed, where there is one."""
    if not folder:
        return None
    from .engines.manifest import Bundle

    return Bundle(folder)


if __name__ == "__main__":
    sys.exit(main())
