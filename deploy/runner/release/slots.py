"""The releases on a board, side by side: which one serves, which one served before, and what became of the others.

    ROOT/NAME/releases/7/     a release, whole, with its engines/
    ROOT/NAME/current         a link to the one that serves; an application opens current/engines/...
    ROOT/NAME/slots.json      of each: its state, and why

A slot is `staged` when it is whole on the disk, on `trial` from the moment that it serves, `good` when that was
confirmed, `bad` when it was not, with the reason, and `removed` when its files were. The link decides what serves;
the file says what is known of it, and is written before the link is.

The order of writes is data, fsync, folders, fsync, manifest, fsync, rename, fsync, link: power may fail between any
two of them. What is half done then is removed by `mend`, or done again.
"""

import hashlib
import os
import re
import shutil
import time
from typing import Dict, List, NamedTuple, Optional

from ..engines.manifest import listed
from ..system.failures import BundleError, DeviceError, RunnerError
from ..system.files import (
    contained,
    make_folder,
    read_json,
    safe_name,
    settle,
    settle_all,
    verify,
    write_json,
)
from ..trust.release import BESIDE, MANIFEST

ROOT = "~/.local/share/jetpress"
STAGED, TRIAL, GOOD, BAD, REMOVED = STATES = ("staged", "trial", "good", "bad", "removed")
RECORDS = 20  # of slots whose files are gone
HEADROOM = 1.2
FORMAT = 1


class Slot(NamedTuple):
    """What is known of one release here."""

    number: int
    manifest: str  # SHA-256 of manifest.json
    state: str
    reason: str = ""  # why it is in this state
    sequence: Optional[int] = None  # of a signed one
    signer: Optional[str] = None
    boots: int = 0  # since its trial began
    is_confirmed_by_hand: bool = False  # an application says whether it is good
    changed: int = 0  # Unix seconds


class Place:
    """The slots of one network."""

    def __init__(self, root: str, name: str) -> None:
        self.name = safe_name(name)
        self.folder = os.path.join(os.path.abspath(os.path.expanduser(root)), self.name)
        self.releases = os.path.join(self.folder, "releases")
        self.link, self.file = os.path.join(self.folder, "current"), os.path.join(self.folder, "slots.json")

    def path(self, number: int) -> str:
        """The folder of a slot."""
        return os.path.join(self.releases, str(number))

    def current(self) -> Optional[int]:
        """The slot that serves."""
        try:
            target = os.readlink(self.link)
        except OSError:
            return None
        match = re.match(r"releases/([1-9][0-9]{0,8})\Z", target)
        return int(match.group(1)) if match else None

    def slots(self) -> Dict[int, Slot]:
        """All that is known, by number."""
        if not os.path.lexists(self.file):
            return {}
        told = read_json(self.file)
        try:
            if told["format"] != FORMAT:  # type: ignore[index]
                raise ValueError("format %r" % told["format"])  # type: ignore[index]
            slots = [Slot(**entry) for entry in told["slots"]]  # type: ignore[index]
            if not all(type(slot.number) is int and slot.state in STATES for slot in slots):
                raise ValueError("a slot without number or state")
        except (LookupError, TypeError, ValueError) as error:
            raise DeviceError(
                "%s is not as it was written: %s" % (self.file, error),
                "remove it: what serves now goes on, and the next deployment begins anew",
            )
        return {slot.number: slot for slot in slots}

    def record(self, *changed: Slot) -> None:
        """Write down what is known now."""
        slots = self.slots()
        for slot in changed:
            slots[slot.number] = slot._replace(changed=int(time.time()))
        gone = sorted(number for number, slot in slots.items() if slot.state in (BAD, REMOVED))
        for number in gone[:-RECORDS]:
            del slots[number]
        told = [dict(slots[number]._asdict()) for number in sorted(slots)]
        write_json(self.file, {"format": FORMAT, "slots": told})

    def serve(self, number: int) -> None:
        """Swap the link."""
        draft = os.path.join(self.folder, ".current.draft")
        if os.path.lexists(draft):
            os.unlink(draft)
        os.symlink("releases/%d" % number, draft)
        os.replace(draft, self.link)
        settle(self.folder)

    def serve_nothing(self) -> None:
        """Take the link away: the first release was none, and nothing served before it."""
        if os.path.lexists(self.link):
            os.unlink(self.link)
            settle(self.folder)

    def last_good(self) -> Optional[Slot]:
        """The one to fall back to."""
        good = [
            slot for slot in self.slots().values() if slot.state == GOOD and slot.number != self.current()
        ]
        return max(good, key=lambda slot: slot.number) if good else None

    def of(self, digest: str) -> Optional[Slot]:
        """The slot that has this manifest, if its files are here."""
        here = [slot for slot in self.slots().values() if slot.manifest == digest]
        here = [
            slot
            for slot in here
            if slot.state in (STAGED, TRIAL, GOOD) and os.path.isdir(self.path(slot.number))
        ]
        return max(here, key=lambda slot: slot.number) if here else None

    def mend(self) -> None:
        """Finish or remove what was half done, and keep what serves, the last good one, and what is staged."""
        make_folder(self.releases)
        current, good = self.current(), self.last_good()
        kept = {current, good.number if good else None}
        for slot in self.slots().values():
            if slot.number in kept:
                continue
            if slot.state == TRIAL:  # the power failed before the link was swapped
                self.record(slot._replace(state=STAGED))
            if slot.state in (STAGED, TRIAL):
                kept.add(slot.number)
            elif slot.state == GOOD:
                self.record(slot._replace(state=REMOVED, reason="newer ones are good"))
        for name in os.listdir(self.releases):
            if name not in map(str, kept):
                shutil.rmtree(os.path.join(self.releases, name))

    def stage(self, folder: str, digest: str) -> Slot:
        """Copy a bundle that was verified into a slot of its own. What is copied is verified again: it may be changed
        meanwhile where it lies, and here it serves."""
        number = max([0, self.current() or 0] + list(self.slots())) + 1
        draft = os.path.join(self.releases, ".%d.draft" % number)
        files = listed(folder)
        self._need(sum(entry.size for entry in files.values()))
        try:
            os.mkdir(draft)
            for name, entry in sorted(files.items()):
                copy = os.path.join(draft, name)
                make_folder(os.path.dirname(copy))
                shutil.copyfile(contained(folder, name), copy)
                verify(contained(draft, name), entry.sha256, entry.size)
            settle_all(draft)
            for name in BESIDE:  # the manifest last: where it is, all is
                if os.path.lexists(os.path.join(folder, name)):
                    shutil.copyfile(contained(folder, name), os.path.join(draft, name))
                    settle(os.path.join(draft, name))
            settle(draft)
            if digest_of(draft) != digest:
                raise BundleError("%s was changed while it was copied" % folder, "deploy it again")
            os.rename(draft, self.path(number))
            settle(self.releases)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        slot = Slot(number, digest, STAGED)
        self.record(slot)
        return slot

    def _need(self, size: int) -> None:
        space = os.statvfs(self.releases)
        free = space.f_bavail * space.f_frsize
        if free < HEADROOM * 2 * size:  # as much again for its engines
            raise DeviceError(
                "the disk: %d MiB are needed for a release and its engines, %d MiB are free"
                % (HEADROOM * 2 * size / 2**20 + 1, free / 2**20),
                "free some there; what serves now goes on",
            )


def digest_of(folder: str) -> str:
    """The SHA-256 of its manifest, which stands for all of it."""
    with open(os.path.join(folder, MANIFEST), "rb") as source:
        return hashlib.sha256(source.read()).hexdigest()


def places(root: str) -> List[Place]:
    """Of every network that has slots here."""
    folder = os.path.abspath(os.path.expanduser(root))
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [Place(root, name) for name in names if os.path.isdir(os.path.join(folder, name, "releases"))]


def only(root: str, name: str) -> Place:
    """The place of this network, or of the only one here."""
    found = [place for place in places(root) if not name or place.name == safe_name(name)]
    if len(found) != 1:
        names = ", ".join(place.name for place in found or places(root)) or "none"
        raise BundleError(
            "there is no one release to choose: here are %s" % names, "name one with --name, or deploy one"
        )
    return found[0]


def is_own(root: str, folder: str) -> bool:
    """Whether a bundle is a slot of this board, as it was deployed: what was asked of it then holds, and to go back to
    it is no replay. A slot that is bad, and what lies anywhere else, is not."""
    real = os.path.realpath(folder)
    for place in places(root):
        try:
            own = [
                slot for slot in place.slots().values() if os.path.realpath(place.path(slot.number)) == real
            ]
            if own:
                return own[0].state in (STAGED, TRIAL, GOOD) and digest_of(real) == own[0].manifest
        except (RunnerError, OSError):
            continue
    return False


def damage(place: Place, number: int) -> Optional[str]:
    """What is wrong with the files of a slot; None where all are as they were released and built."""
    from ..engines.stamp import is_whole, read_stamp

    folder = place.path(number)
    try:
        slot = place.slots().get(number)
        if slot is not None and digest_of(folder) != slot.manifest:
            return "its manifest is another one"
        for name, entry in listed(folder).items():
            verify(contained(folder, name), entry.sha256, entry.size)
        engines = os.path.join(folder, "engines")
        broken = [
            name for name, engine in read_stamp(engines).engines.items() if not is_whole(engines, engine)
        ]
        return "the engine of %s is damaged" % broken[0] if broken else None
    except (RunnerError, OSError) as error:
        return str(error)
