"""A board of files, with programs that answer as nvpmodel and tegrastats do; it is root's, as power modes are."""

from __future__ import annotations

from pathlib import Path

PROBES = Path(__file__).parents[1] / "probes"
WATTS = {"MAXN": 18000, "15W": 11000, "7W": 6000}
CONF = "".join(f"< POWER_MODEL ID={at} NAME={name} >\nCPU_ONLINE CORE_0 1\n" for at, name in enumerate(WATTS))
# -q as tests/probes/nvpmodel_q_fan_warning.txt. The question of MAXN and what follows each answer are as boards print
# them (studies/log/video.md). After a yes `nvpmodel -q` may tell of the new mode: what counts is that it goes down.
NVPMODEL = """#!/bin/sh
cd {root}
if [ "$1" = -q ]; then echo "NVPM WARN: fan mode is not set!"; echo "NV Power Mode: $(cat mode)"; cat id; exit 0; fi
name=$(sed -n "s/.*ID=$2 NAME=\\(.*\\) >/\\1/p" etc/nvpmodel.conf)
if [ -e wants_reboot ] && [ "$2" = 0 ]; then
    echo "NVPM WARN: Golden image context is already created"
    echo "NVPM WARN: Reboot required for changing to this power mode: $2"
    echo "NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:"
    read answer; echo "$answer" > answer
    case "$answer" in
        YES|yes) echo "NVPM WARN: rebooting"; echo "$name" > mode; echo "$2" > id; exit 0;;
        *) echo "NVPM ERROR: optMask is 1, no request for power mode"; exit 255;;
    esac
fi
echo "$name" > mode; echo "$2" > id; echo "mode $name" >> calls
for one in MAXN=18000 15W=11000 7W=6000; do
    [ "${{one%%=*}}" = "$name" ] && echo "${{one#*=}}" > sys/class/hwmon/hwmon3/curr1_input
done
exit 0
"""
CLOCKS = """#!/bin/sh
# It takes its time over bringing them back.
case "$1" in --store) : > "$2";; --restore) sleep 0.5;; esac
echo "clocks ${{1:-highest}}" >> {root}/calls
"""
TEGRASTATS = """#!/bin/sh
while :; do sed -n 1p {line}; sleep 0.1; done
"""


def make(root: Path) -> Path:
    """In 15 W: one rail of 1 V, whose current hangs on the mode."""
    rail = root / "sys/class/hwmon/hwmon3"
    zone = root / "sys/class/thermal/thermal_zone0"
    for folder in (rail, zone, root / "etc", root / "usr/sbin", root / "usr/bin"):
        folder.mkdir(parents=True)
    for place, text in {
        rail / "name": "ina3221",
        rail / "in1_label": "VDD_IN",
        rail / "in1_input": "1000",
        rail / "curr1_input": str(WATTS["15W"]),
        zone / "type": "tj-thermal",
        zone / "temp": "54500",
        root / "etc/nvpmodel.conf": CONF,
        root / "mode": "15W",
        root / "id": "1",
    }.items():
        place.write_text(text + "\n")
    line = PROBES / "tegrastats_jp6_orin_nano.txt"
    for name, text in {
        "usr/sbin/nvpmodel": NVPMODEL.format(root=root),
        "usr/bin/tegrastats": TEGRASTATS.format(line=line),
        "usr/bin/jetson_clocks": CLOCKS.format(root=root),
    }.items():
        (root / name).write_text(text)
        (root / name).chmod(0o755)
    return root


def mode(root: Path) -> str:
    """The power mode that it is in."""
    return (root / "mode").read_text().strip()
