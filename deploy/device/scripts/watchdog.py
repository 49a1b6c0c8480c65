"""Runs on the device: start a program, and end it when the host goes away.

sshd leaves a program running when its connection ends. Here stdin is the life-line: it stays open and empty
while the host waits, so its end means Ctrl-C, a timeout, a killed host or a lost connection.
Request: {"argv": [...]}. Output and exit status are the program's own (128 + n after signal n).
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 1.0  # from the polite signal to the one that cannot be refused
NOT_FOUND = 127  # as in a shell
SSH_FAILED = 255  # ssh's own status for a failed connection, so no program may end with it


def main() -> None:
    request = json.loads(sys.stdin.buffer.readline().decode("ascii"))
    argv = [argument.encode("utf-8", "surrogateescape") for argument in request["argv"]]
    try:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        sys.stderr.write("%s: %s\n" % (request["argv"][0], error.strerror))
        sys.exit(NOT_FOUND)
    watcher = threading.Thread(target=watch, args=(child,))
    watcher.daemon = True
    watcher.start()
    code = child.wait()
    status = code if code >= 0 else 128 - code
    os._exit(min(status, SSH_FAILED - 1))  # at once: the watcher still waits for stdin


def watch(child: "subprocess.Popen[bytes]") -> None:
    while sys.stdin.buffer.read(65536):
        pass
    for wanted in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(child.pid, wanted)
        except OSError:
            return  # the whole group has ended
        until = time.time() + GRACE_S
        while child.poll() is None and time.time() < until:
            time.sleep(0.02)


if __name__ == "__main__":
    main()
