"""Runs on the device: a program that goes on when the host is gone, and is found again.

    FOLDER/alive     locked by the keeper, and by the program that it started, for as long as either lives
    FOLDER/pid       of the keeper: it leads a session of its own, so no connection's end reaches it
    FOLDER/out, err  what the program printed
    FOLDER/status    how it ended; there once it has
    FOLDER/readers   locked by everyone who reads along, so that nobody's end takes it from another

A lock says more than a pid: the kernel lets go of it however a process ends, also when the power does.
Request: {"do": NAME OF A FUNCTION BELOW, and its arguments}. Answer: one line of JSON; `follow`: many.
Failure: one line of JSON on stderr and exit status 1.
"""

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import IO, Callable, Dict, List, Optional

Answer = Dict[str, object]

LONGEST_LINE = 1 << 23
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
LOOK_S = 0.1
BEAT_S = 1.0  # while the program is silent, this says that the connection is not
LOCK_S = 10.0
GRACE_S = 2.0


def raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def start(folder: str, argv: List[str]) -> Answer:
    """Start it, unless it runs or has ended well; a program that failed or was killed is started again."""
    place = raw(folder)
    os.makedirs(place, exist_ok=True)
    with open(os.path.join(place, b"gate"), "ab") as gate:
        lock(gate)
        if is_alive(place):
            return {"found": "running"}
        if status(place) == 0:
            return {"found": "finished"}
        for name in (b"status", b"out", b"err"):
            if os.path.exists(os.path.join(place, name)):
                os.unlink(os.path.join(place, name))
        alive = open(os.path.join(place, b"alive"), "ab")  # noqa: SIM115 - the keeper holds it to its end
        lock(alive)
        if os.fork() == 0:
            gate.close()
            keep(place, [raw(argument) for argument in argv], alive)
        return {"found": "nothing"}


def keep(folder: bytes, argv: List[bytes], alive: IO[bytes]) -> None:
    """The keeper, in a process and a session of its own; never returns."""
    code = 1
    try:
        os.setsid()
        os.chdir("/")
        write(folder, b"pid", os.getpid())
        nothing = os.open("/dev/null", os.O_RDONLY)
        ends = [os.open(os.path.join(folder, name), APPEND, 0o600) for name in (b"out", b"err")]
        for number, opened in enumerate([nothing, *ends]):
            os.dup2(opened, number)
        code = subprocess.call(argv, pass_fds=(alive.fileno(),))
        write(folder, b"status", code if code >= 0 else 128 - code)
    except OSError as error:
        os.write(2, ("%s: %s\n" % (argv[0].decode("utf-8", "replace"), error.strerror)).encode("utf-8"))
        write(folder, b"status", 127)
    finally:
        os._exit(0)


def follow(folder: str, seen: Dict[str, int]) -> None:
    """Each line as {"out" | "err": text, "next": where the file goes on}; at last {"status": ...}.

    A host that was cut off says where it was; a status of None means that it was killed with its keeper.
    """
    place = raw(folder)
    files: Dict[str, IO[bytes]] = {}
    for name in ("out", "err"):
        path = os.path.join(place, raw(name))
        files[name] = open(path, "ab+")  # noqa: SIM115 - it may not have been made yet
        files[name].seek(seen[name])
    readers = open(os.path.join(place, b"readers"), "ab")  # noqa: SIM115
    fcntl.flock(readers, fcntl.LOCK_SH)
    spoke = time.time()
    while True:
        ended = not is_alive(place)  # asked before reading: what came before the end is read
        moved = [True for name, file in files.items() if pass_on(name, file, ended)]
        if ended and not moved:
            return say({"status": status(place)})
        if moved:
            spoke = time.time()
        elif time.time() - spoke > BEAT_S:
            spoke = time.time()
            say({"beat": True})
        if not moved and select.select([sys.stdin], [], [], LOOK_S)[0] and not os.read(0, 4096):
            sys.exit(1)  # the host is gone


def pass_on(name: str, file: IO[bytes], ended: bool) -> bool:
    """Whole lines, and at the end also a last one without its end."""
    begin, chunk = file.tell(), file.read(LONGEST_LINE)
    end = chunk.rfind(b"\n") + 1
    if not end and (ended or len(chunk) == LONGEST_LINE):
        end = len(chunk)
    for line in chunk[:end].splitlines(True):
        begin += len(line)
        say({name: line.rstrip(b"\r\n").decode("utf-8", "replace"), "next": begin})
    file.seek(begin)
    return bool(end)


def forget(folder: str) -> Answer:
    """Remove the folder of a program that has ended, unless somebody else still reads it."""
    place = raw(folder)
    try:
        with open(os.path.join(place, b"readers"), "ab") as readers:
            fcntl.flock(readers, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_alive(place):
                shutil.rmtree(place, ignore_errors=True)
    except (BlockingIOError, FileNotFoundError):
        pass  # somebody else reads it, or has removed it
    return {}


def stop(folder: str) -> Answer:
    """End every program whose folder lies in this one: politely, then by force."""
    parent, stopped = raw(folder), 0
    for name in os.listdir(parent) if os.path.isdir(parent) else []:
        place = os.path.join(parent, name)
        for wanted in (signal.SIGINT, signal.SIGKILL):
            if not is_alive(place):
                break
            stopped += wanted == signal.SIGINT
            with open(os.path.join(place, b"pid")) as file:
                os.killpg(int(file.read()), wanted)
            until = time.time() + GRACE_S
            while is_alive(place) and time.time() < until:
                time.sleep(LOOK_S)
    return {"stopped": stopped}


def running(folder: str) -> Answer:
    """How many programs run in the folders of this one."""
    parent = raw(folder)
    names = os.listdir(parent) if os.path.isdir(parent) else []
    return {"running": sum(is_alive(os.path.join(parent, name)) for name in names)}


def is_alive(folder: bytes) -> bool:
    try:
        with open(os.path.join(folder, b"alive"), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def status(folder: bytes) -> Optional[int]:
    try:
        with open(os.path.join(folder, b"status")) as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def write(folder: bytes, name: bytes, number: int) -> None:
    draft = os.path.join(folder, name + b".tmp")
    with open(draft, "w") as file:
        file.write(str(number))
        file.flush()
        os.fsync(file.fileno())
    os.rename(draft, os.path.join(folder, name))


def lock(file: IO[bytes]) -> None:
    until = time.time() + LOCK_S
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.time() > until:
                raise
            time.sleep(0.02)


def say(record: Answer) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


DO: Dict[str, Callable[..., Optional[Answer]]] = {
    function.__name__: function for function in (start, follow, forget, stop, running)
}


def main() -> None:
    request = json.loads(sys.stdin.buffer.readline().decode("ascii"))
    try:
        answer = DO[request.pop("do")](**request)
    except OSError as error:
        report = {"error": error.strerror or str(error), "errno": error.errno, "path": str(error.filename)}
        sys.stderr.write(json.dumps(report) + "\n")
        sys.exit(1)
    if answer is not None:
        say(answer)


if __name__ == "__main__":
    main()
