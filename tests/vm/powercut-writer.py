"""What the power-cut test writes, and what it expects to find.

    powercut-writer.py write NAME KIND DEVICE       in the guest; never ends
    powercut-writer.py judge NAME KIND IMAGE LOG    on the host, after the cut

KIND is how the writer makes its data durable: fua (each write carries FUA), flush (some writes, then a
flush) or forget (not at all). A slot is 4 KiB and holds its own number and a sequence number in each 512
bytes. The writer says
    ACK NAME SLOT SEQUENCE     that version is acknowledged as being on stable storage
    GOING NAME                 it is well under way: the power may be cut
and the judge finds in every slot the acknowledged version or a newer one.
"""

import itertools
import mmap
import os
import random
import re
import signal
import struct
import subprocess
import sys

SLOT = 4096
SLOTS = range(256)
ENOUGH = 30  # slots or rounds that make a test of it
TAG = b"power"


def fill(page, slot, sequence):
    """One slot's content: every sector tells where it belongs and how new it is."""
    for at in range(0, SLOT, 512):
        page[at : at + 512] = struct.pack("<5sxxxQQ", TAG, slot, sequence).ljust(512, b"\xa5")


def sectors(image, slot):
    """The sequence numbers of a slot's sectors; 0 for one that never was written."""
    for at in range(slot * SLOT, (slot + 1) * SLOT, 512):
        tag, number, sequence = struct.unpack("<5sxxxQQ", image[at : at + 24])
        yield sequence if tag == TAG and number == slot else 0


def write(name, kind, device):
    fd = os.open(device, os.O_RDWR | os.O_DIRECT)
    page = mmap.mmap(-1, SLOT)  # page-aligned, as O_DIRECT wants it
    dice = random.Random(name)
    sequence = 0

    def put(slot):
        nonlocal sequence
        sequence += 1
        fill(page, slot, sequence)
        if os.pwrite(fd, page, slot * SLOT) != SLOT:
            raise OSError("short write")
        return slot, sequence

    def fua():
        # As a SCSI command of its own: for an O_DSYNC write to a block device the kernel sends FUA and
        # then a flush, which would hide a FUA that does nothing.
        nonlocal sequence
        sequence += 1
        slot = dice.choice(SLOTS)
        fill(page, slot, sequence)
        to = ["bs=512", "count=8", f"of={device}", f"seek={slot * 8}", "oflag=sgio,fua"]
        subprocess.run(["sg_dd", *to], input=page[:], check=True, stderr=subprocess.DEVNULL)
        return [(slot, sequence)]

    def flushed():
        done = [put(slot) for slot in dice.sample(SLOTS, dice.randint(1, 8))]
        os.fdatasync(fd)
        return done

    def forgotten():
        for slot in SLOTS:
            put(slot)
        print("GOING", name, flush=True)
        signal.pause()

    durable = {"fua": fua, "flush": flushed, "forget": forgotten}[kind]
    for rounds in itertools.count(1):
        for slot, version in durable():
            print("ACK", name, slot, version, flush=True)
        if rounds == ENOUGH:
            print("GOING", name, flush=True)


def judge(name, kind, image_path, log_path):
    with open(image_path, "rb") as f:
        image = f.read(len(SLOTS) * SLOT)
    if kind == "forget":
        kept = sum(max(sectors(image, slot)) > 0 for slot in SLOTS)
        good = kept == 0
        what = f"the disk forgot {len(SLOTS) - kept} of {len(SLOTS)} writes that nobody flushed"
    else:
        # Only whole lines count: the last may have been cut off with the power.
        pattern = re.compile(rf"^ACK {name} (\d+) (\d+)\r?\n", re.M)
        with open(log_path, encoding="ascii", errors="replace") as f:
            newest = {int(slot): int(version) for slot, version in pattern.findall(f.read())}
        lost = sorted(slot for slot, version in newest.items() if min(sectors(image, slot)) < version)
        good = len(newest) >= ENOUGH // 2 and not lost
        what = f"{len(newest)} slots acknowledged, up to version {max(newest.values(), default=0)}, {len(lost)} lost"
        if lost:
            what += f": {lost[:10]}"
    print("PASS" if good else "FAIL", f"powercut {name}: {what}")
    sys.exit(not good)


if __name__ == "__main__":
    {"write": write, "judge": judge}[sys.argv[1]](*sys.argv[2:])
