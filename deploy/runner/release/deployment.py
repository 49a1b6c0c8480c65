"""deploy: a release into a slot, its engine built and tried, and only then it serves; and the ways back.

What is wrong with a new engine is found before anything uses it: the old one serves until the new one has given the
outputs that were promised, in time. Then the link is swapped and the trial begins. It is confirmed at once, or, with
`--on-trial`, by the application that uses it (`confirm`); where that does not happen, the third boot falls back.
"""

import os
import shutil
import sys
import zipfile
from typing import Callable, NamedTuple, Optional

from ..engines.manifest import Bundle
from ..system import processes
from ..system.events import emit, tell
from ..system.failures import DeviceError, RunnerError
from ..system.files import alone, make_folder, settle_all, write
from ..trust import release, signers
from . import trial
from .slots import BAD, GOOD, ROOT, TRIAL, Place, Slot, damage, digest_of

BOOTS = 2  # of a trial; at the next one it falls back
Step = Callable[[str], Optional[str]]  # with the folder of a slot: what is wrong with it


class Asked(NamedTuple):
    """How a release is to be deployed."""

    root: str = ROOT
    signers: str = signers.FILE
    target: str = ""
    state: str = ""  # where the numbers are kept
    on_trial: bool = False


def deploy(folder: str, asked: Asked, build: Step = trial.build, health: Step = trial.health) -> Slot:
    """The slot that serves then; raises DeviceError where the release is bad, and what served before goes on."""
    claims = release.require(folder, asked.signers, asked.target, asked.state)
    name, digest = str(Bundle(folder).plan["name"]) if claims is None else claims.name, digest_of(folder)
    place = Place(asked.root, name)
    with alone(make_folder(place.folder), "deployment"):
        place.mend()
        known = place.of(digest)
        if known is not None and damage_of_release(place, known):
            tell("%s: the files of slot %d are damaged, it is made again" % (name, known.number))
            place.record(known._replace(state=BAD, reason="its files were damaged"))
            known = None
        slot = known or place.stage(folder, digest)
        if claims is not None:
            slot = slot._replace(sequence=claims.sequence, signer=claims.signer)
        slot = slot._replace(is_confirmed_by_hand=asked.on_trial)
        if slot.number == place.current() and slot.state == GOOD and damage(place, slot.number) is None:
            tell("%s: this release serves already" % name)
            return said(place, slot)
        _install_runner(asked.root)
        return _tried(place, slot, build, health)


def damage_of_release(place: Place, slot: Slot) -> Optional[str]:
    """Its own files alone: its engines are built again where they are damaged."""
    try:
        Bundle(place.path(slot.number))
        return None if digest_of(place.path(slot.number)) == slot.manifest else "another manifest"
    except (RunnerError, OSError) as error:
        return str(error)


def _tried(place: Place, slot: Slot, build: Step, health: Step) -> Slot:
    folder = place.path(slot.number)
    place.record(slot)
    wrong = build(folder)
    if wrong is None:
        settle_all(folder)
        tell("%s: trying slot %d" % (place.name, slot.number))
        wrong = health(folder)
    if wrong is not None:
        raise _refused(place, slot, wrong)
    if slot.number != place.current():
        slot = slot._replace(state=TRIAL, boots=0, reason="")
        place.record(slot)
        place.serve(slot.number)
    if not slot.is_confirmed_by_hand:
        slot = slot._replace(state=GOOD, reason="")
        place.record(slot)
        place.mend()
    return said(place, slot)


def _refused(place: Place, slot: Slot, wrong: str) -> DeviceError:
    """Write down why, let the last good one serve, and give the disk back."""
    slot = fall_back(place, slot, wrong)
    said(place, slot)
    current = place.current()
    goes_on = "nothing served before it" if current is None else "slot %d serves" % current
    return DeviceError(
        "%s, slot %d is bad: %s; %s" % (place.name, slot.number, wrong, goes_on),
        "the release is at fault, or this board: compare with a board where it works",
    )


def fall_back(place: Place, slot: Slot, why: str) -> Slot:
    """Let the last good slot serve if this one does; what is written down of this one.

    The link goes first: what is bad must not serve. Where power fails in between, the slot is tried again.
    """
    if slot.number == place.current():
        _serve_last_good(place)
    slot = slot._replace(state=BAD, reason=why)
    place.record(slot)
    shutil.rmtree(place.path(slot.number), ignore_errors=True)
    return slot


def _serve_last_good(place: Place) -> None:
    """The newest good one whose files are whole."""
    while True:
        good = place.last_good()
        if good is None:
            place.serve_nothing()
            return
        wrong = damage(place, good.number)
        if wrong is None:
            place.serve(good.number)
            return
        place.record(good._replace(state=BAD, reason="damaged: %s" % wrong))


def rollback(place: Place, why: str = "rolled back by hand") -> Slot:
    """The last good slot serves again, and the one that served is bad; raises DeviceError where there is none.

    A trial may always be ended: where nothing served before it, nothing does then.
    """
    with alone(place.folder, "deployment"):
        slots, current, good = place.slots(), place.current(), place.last_good()
        if good is None and current in slots and slots[current].state == TRIAL:
            return said(place, fall_back(place, slots[current], why))
        if good is None:
            raise DeviceError(
                "%s: there is no earlier release to go back to" % place.name,
                "deploy one; `jetpress status --device USER@HOST` lists what is there",
            )
        wrong = damage(place, good.number)
        if wrong is not None:
            raise DeviceError(
                "%s, slot %d is damaged: %s" % (place.name, good.number, wrong), "deploy a release"
            )
        if current in slots:  # first: where power fails here, the next boot goes on with it
            place.record(slots[current]._replace(state=BAD, reason=why))
        place.serve(good.number)
        place.mend()
        tell("%s: slot %d serves again" % (place.name, good.number))
        return said(place, good)


def confirm(place: Place) -> Slot:
    """The application says that its trial is good."""
    with alone(place.folder, "deployment"):
        slot = place.slots().get(place.current() or 0)
        if slot is None or slot.state not in (TRIAL, GOOD):
            raise DeviceError(
                "%s: no release is on trial" % place.name, "`jetpress deploy --on-trial` begins one"
            )
        if slot.state == TRIAL:
            slot = slot._replace(state=GOOD, reason="")
            place.record(slot)
            place.mend()
        return said(place, slot)


def boot(place: Place, health: Step = trial.health) -> Optional[Slot]:
    """When the board starts: count a trial's boots, try it, and fall back where it is not confirmed or not whole."""
    with alone(make_folder(place.folder), "deployment"):
        current = place.current()
        slot = place.slots().get(current or 0)
        if slot is None:
            place.mend()
            return None
        wrong = damage(place, slot.number)
        if slot.state == BAD:
            wrong = slot.reason
        if slot.state == TRIAL and wrong is None:
            slot = slot._replace(boots=slot.boots + 1)
            place.record(slot)  # before anything is tried: what hangs the board is counted
            wrong = (
                "not confirmed in %d boots" % BOOTS if slot.boots > BOOTS else health(place.path(slot.number))
            )
        if wrong is not None:
            tell("%s, slot %d is bad: %s" % (place.name, slot.number, wrong))
            fall_back(place, slot, wrong)
        elif slot.state == TRIAL and not slot.is_confirmed_by_hand:
            place.record(slot._replace(state=GOOD, reason=""))
        place.mend()
        slot = place.slots().get(place.current() or 0)
        return None if slot is None else said(place, slot)


def said(place: Place, slot: Slot) -> Slot:
    """The event of a slot, as it is written down."""
    slot = place.slots().get(slot.number, slot)
    emit("slot", name=place.name, serves=slot.number == place.current(), **slot._asdict())
    return slot


def _install_runner(root: str) -> None:
    """Leave the runner that is at work, which was not part of the release, where `boot` finds it."""
    here = os.path.dirname(processes.HERE)
    if zipfile.is_zipfile(here):
        with open(here, "rb") as source:
            write(os.path.join(os.path.abspath(os.path.expanduser(root)), "runner.pyz"), source.read())


UNIT = """[Unit]
Description=jetpress: count the boots of a release on trial, and fall back where it is not confirmed
After=local-fs.target

[Service]
Type=oneshot
User={user}
ExecStart={python} {root}/runner.pyz boot --root {root}
TimeoutStartSec=600

[Install]
WantedBy=multi-user.target
"""


def unit(root: str, user: str) -> str:
    """A systemd unit for whoever wants one; nothing installs it."""
    return UNIT.format(user=user, python=sys.executable, root=os.path.abspath(os.path.expanduser(root)))
