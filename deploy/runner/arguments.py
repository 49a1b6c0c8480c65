"""The commands of the runner and their arguments."""

import argparse
import os
from typing import List, Optional

from .release.slots import ROOT
from .trust.release import STATE
from .trust.signers import FILE

SLOTS = {
    "deploy": "put a release into a slot, build and try its engine, and let it serve if it is good",
    "rollback": "let the release serve again that served before",
    "confirm": "say that the release on trial is good",
    "status": "which releases are here, which one serves, and what became of the others",
    "boot": "when the board starts: fall back where a trial was not confirmed or a release is not whole",
}
DECODERS = ("auto", "gstreamer", "ffmpeg")
ANY_MODE = "also engines that were built in another power mode"
ENGINES = "what `build --out` wrote (default: engines/ in the bundle)"


def parser(home: Optional[str]) -> argparse.ArgumentParser:
    """`home` is the folder of a zipapp that lies inside a bundle; there, --bundle need not be said."""
    inside = home is not None and os.path.isfile(os.path.join(home, "plan.json"))
    place = home if inside else None
    made = argparse.ArgumentParser(
        prog="runner.pyz", description="Build, check and measure engines on this device."
    )
    made.set_defaults(bundle=place)
    commands = made.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = not inside

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    build = add("build", "build one engine for every model of the bundle")
    infer = add("infer", "run the bundle's samples through each engine")
    bench = add("bench", "measure all models, interleaved")
    compare = add("compare", "measure one engine of each of several bundles side by side")
    profile = add("profile", "what each layer of each model takes")
    sensors = add("sensors", "power, heat and clocks, twenty times a second")
    verify = add("verify", "who vouches for a release, by this board's own file")
    health = add("health", "does the engine do what was promised of it, within half a minute")
    serve = add("serve", "a page with the picture of a camera and what the engine finds in it")
    for word, text in SLOTS.items():
        _add_slots(add(word, text), word)
    doctor = add("doctor", "what is here, what is missing, and the remedy")
    for command in (build, infer, bench, compare, profile, health, serve):
        command.add_argument(
            "--bundle", default=place, required=place is None, help="folder with manifest.json"
        )
        command.add_argument(
            "--root",
            default=ROOT,
            help="where this board's slots are, to which it may go back (default: %s)" % ROOT,
        )
    for command in (infer, bench, compare, profile, health, serve):
        command.add_argument("--engines", help=ENGINES)
    for command in (build, infer, bench):
        command.add_argument(
            "--places",
            type=_places,
            help="where each model is to run: gpu, dla0, dla1, with commas (default: gpu)",
        )
    _add_build(build)
    _add_serve(serve)
    infer.add_argument("--out", help="where the outputs go (default: beside the engines)")
    for command in (bench, compare):
        _add_timing(command)
    _add_bench(bench)
    for name, text in (("--other-bundle", "the second bundle"), ("--other-engines", "its engines")):
        compare.add_argument(name, required=True, action="append", help=text + "; again for a third one")
    _add_session(add("session", "one session of `bench`, as it begins it: ends with its standard input"))
    profile.add_argument("--out", help="also write profile.json into this folder")
    profile.add_argument("--seconds", type=_positive, default=0.0, help="begin no round after so long")
    sensors.add_argument("--seconds", type=_positive, default=1.0)
    _add_verify(verify)
    doctor.add_argument("--bundle", default=place, help="ask for what this bundle needs")
    return made


def _add_verify(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", metavar="FOLDER", help="of the release")
    command.add_argument("--signers", default=FILE, help="whom this board trusts (default: %s)" % FILE)
    command.add_argument("--target", default="", help="refuse what was released for another one")
    command.add_argument("--state", default="", help="keeps the highest numbers seen (default: %s)" % STATE)


def _add_slots(command: argparse.ArgumentParser, word: str) -> None:
    """Releases side by side below one folder."""
    command.add_argument("--root", default=ROOT, help="where the slots are (default: %s)" % ROOT)
    if word == "deploy":
        _add_verify(command)
        command.add_argument(
            "--on-trial",
            action="store_true",
            help="it is good when `confirm` says so; the third boot falls back",
        )
    elif word in ("rollback", "confirm"):
        command.add_argument("--name", default="", help="of the network, where there are several")
    elif word == "boot":
        command.add_argument(
            "--unit", action="store_true", help="only print a systemd unit that does it at every start"
        )


def _add_build(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", help="where the engines go (default: engines/ in the bundle)")
    command.add_argument(
        "--only-chosen", action="store_true", help="leave out the networks that it is compared with"
    )
    command.add_argument("--force", action="store_true", help="build again what is there already")
    command.add_argument(
        "--other-device", action="store_true", help="build though the bundle is for another board"
    )
    command.add_argument(
        "--lock-clocks",
        action="store_true",
        help="highest clocks meanwhile: kernels are chosen by their times",
    )


def _add_timing(command: argparse.ArgumentParser) -> None:
    """What `bench` and `compare` share: how long, how often, with which clocks."""
    command.add_argument(
        "--seconds", type=_positive, help="time for each model, in all sessions (default: the plan's, else 3)"
    )
    command.add_argument(
        "--sessions",
        type=_count,
        help="exactly so many, each in a fresh process (default: the plan's, else 5 and more until it is known)",
    )
    command.add_argument(
        "--max-seconds", type=_positive, help="no session is begun that would end later (default: 60)"
    )
    command.add_argument(
        "--runs", type=int, help="runs of each model at least (default: the plan's, else 64)"
    )
    command.add_argument("--out", help="also write bench.json into this folder")
    command.add_argument(
        "--lock-clocks", action="store_true", help="highest clocks meanwhile; always restored"
    )


def _add_session(command: argparse.ArgumentParser) -> None:
    """All of it is said by whoever starts it."""
    names = ("NAME", "BUNDLE", "ENGINES")
    command.add_argument("--subject", nargs=3, action="append", required=True, metavar=names)
    command.add_argument("--places", type=_places)
    command.add_argument("--any-power-mode", action="store_true")
    for kind, flags in ((float, ("seconds", "warmup-ms", "warmup-max-ms")), (int, ("runs", "rounds"))):
        for flag in flags:
            command.add_argument("--" + flag, type=kind, required=True)
    for flag in ("locked", "varied", "backward"):
        command.add_argument("--" + flag, type=lambda text: text == "1", required=True)


def _add_bench(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--against", choices=("trtexec",), default="", help="also in turns with NVIDIA's own tool"
    )
    command.add_argument("--concurrent", action="store_true", help="also all places at the same time")
    _add_video(command)
    command.add_argument(
        "--only-chosen", action="store_true", help="of a video: without what it is compared with"
    )
    command.add_argument("--any-power-mode", action="store_true", help=ANY_MODE)
    _add_power(command)


def _add_power(command: argparse.ArgumentParser) -> None:
    """The same in every power mode."""
    command.add_argument(
        "--power-modes",
        metavar="all|ID,NAME",
        help="in each of these modes of the board; that of before afterwards",
    )
    command.add_argument(
        "--allow-reboot",
        action="store_true",
        help="also modes for which the board restarts; then give it again",
    )
    command.add_argument("--watts", type=_positive, help="choose the fastest mode that draws no more")
    command.add_argument("--millijoules", type=_positive, help="and takes no more for a frame")


def _add_serve(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--video", required=True, metavar="SOURCE", help="FILE, /dev/videoN, csi, rtsp://..."
    )
    command.add_argument("--decoder", choices=DECODERS, default="auto", help="what decodes it")
    command.add_argument("--host", default="127.0.0.1", help="who may look: 0.0.0.0 lets all of the network")
    command.add_argument("--port", type=int, default=8000, help="0: any that is free")
    command.add_argument("--seconds", type=_positive, default=0.0, help="end after so long")


def _add_video(command: argparse.ArgumentParser) -> None:
    """The application instead of the engine alone."""
    command.add_argument(
        "--video",
        action="append",
        metavar="SOURCE",
        help="from frame to result instead: FILE, /dev/videoN, csi, rtsp://...; again for another one",
    )
    command.add_argument("--streams", type=_count, default=0, help="so many of these sources at once")
    command.add_argument("--decoder", choices=DECODERS, default="auto", help="what decodes them")
    command.add_argument(
        "--real-time", action="store_true", help="play files as they were taken: who is late drops frames"
    )


def _places(text: str) -> List[str]:
    from .engines.manifest import PLACES

    names = text.split(",")
    if not set(names) <= set(PLACES) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError("%s: each of %s at most once" % (text, ", ".join(PLACES)))
    return names


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError("%s is not between 1 and 1000" % text)
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError("%s is not between 0 and 86400 seconds" % text)
    return value
