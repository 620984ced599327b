"""The results of vm.sh as Markdown tables.

vm.py DIR --disks LIST --machine TEXT reads DIR/vm.jsonl and writes DIR/vm.md. The exit status is 1 when a target is missed
or what it is about was not measured.
"""

import argparse
import sys
from pathlib import Path

from compare import OURS, Results, number, verdict

LIO = "lio"
DEPTHS = [("qd1", "qd 1"), ("qd32", "qd 32"), ("qd128", "qd 128 over 4 sessions")]
VERBS = [("randread", "read"), ("randwrite", "write")]
NOTE = """\
IOPS of fio through the guest's kernel initiator; both targets in the same guest, on the same device, by turns. Where QEMU
emulates the processor (tcg) the figures are distorted: they are no rates that a machine would have, and what crosses
between user space and kernel costs more beside the rest than it does there.
"""


def rows(disks):
    return [
        (f"{disk}-{depth}-{rw}", f"{disk}, 4 KiB random {verb}, {title}")
        for disk in disks
        for depth, title in DEPTHS
        for rw, verb in VERBS
    ]


def markdown(results, asked, machine):
    rounds = max((r["round"] for r in results.all), default=0)
    lines = [f"{machine}; rounds in turns: {rounds}; medians.", "", NOTE]
    lines += ["| through the kernel's initiator | ringtgt | LIO | ringtgt ÷ LIO | aim | |", "|---|---|---|---|---|---|"]
    missed = []
    for what, title in asked:
        ratio = results.ratio((OURS, what), (LIO, what), "iops")
        rates = [number(results.median(who, what, "iops"), 0) for who in (OURS, LIO)]
        said = verdict(ratio, ">=", 1)
        if said != "PASS":
            missed.append(title)
        lines.append(f"| {title} | {rates[0]} | {rates[1]} | {number(ratio)} | ≥ 1 | {said} |")
    return "\n".join(lines) + "\n", missed


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("dir", type=Path)
    arguments.add_argument("--disks", required=True)
    arguments.add_argument("--machine", required=True)
    arguments = arguments.parse_args()
    results = Results(arguments.dir / "vm.jsonl")
    text, missed = markdown(results, rows(arguments.disks.split(",")), arguments.machine)
    (arguments.dir / "vm.md").write_text(text)
    for title in missed:
        print(f"missed or not measured: {title}", file=sys.stderr)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
