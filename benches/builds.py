#!/usr/bin/env python3
"""Two builds of ringtgt side by side: what a 4 KiB I/O costs the server.

    benches/builds.py BEFORE AFTER [--rounds N] [--secs S] [--history TEXT]

BEFORE and AFTER are programs. Each serves a `null` and a `ram` store with one reactor on the first processor; the load is
AFTER's own `bench` on the last one, queue depth 32 on 4 sessions. Processor time is taken in turns, medians of N rounds;
instructions (of user space alone) are counted by callgrind, once, with the poll before sleeping switched off. Prints a
Markdown table; with --history it goes to the end of benches/HISTORY.md, under what TEXT says of the two.
"""

import argparse
import atexit
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IQN = "iqn.2026-11.org.example:builds"
CONFIG = """[server]
reactors = "0-0"
poll_us = {poll}
[[backstore]]
kind = "null"
name = "nothing"
size = "8G"
[[backstore]]
kind = "ramdisk"
name = "memory"
size = "64M"
[[target]]
iqn = "{iqn}"
[[target.tpg]]
tag = 1
any_initiator = true
portals = ["127.0.0.1:{port}"]
[[target.tpg.lun]]
lun = 0
backstore = "nothing"
[[target.tpg.lun]]
lun = 1
backstore = "memory"
"""
ROWS = [
    ("random read, null", 0, ["--rw", "randread"]),
    ("random write, null", 0, ["--rw", "randwrite"]),
    ("the same without immediate data", 0, ["--rw", "randwrite", "--no-immediate"]),
    ("random read, ram", 1, ["--rw", "randread"]),
    ("random write, ram", 1, ["--rw", "randwrite"]),
]


class Server:
    """A running build."""

    def __init__(self, program, poll, under=()):
        self.dir = Path(tempfile.mkdtemp(prefix="ringtgt-builds-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (self.dir / "ringtgt.toml").write_text(CONFIG.format(poll=poll, iqn=IQN, port=self.port))
        self.log = self.dir / "log"
        serve = [program, "serve", "--config", self.dir / "ringtgt.toml", "--state-dir", self.dir / "state"]
        with self.log.open("w") as log:
            words = ["taskset", "-c", "0", *under, *serve]
            self.process = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.dir)
        atexit.register(self.stop)
        end = time.monotonic() + 60
        while "\nready" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit(f"{program} does not serve:\n{self.log.read_text()}")
            time.sleep(0.1)
            self.poke()

    def poke(self):
        """Makes a reactor run for a moment: in valgrind, all else waits for one that sleeps in the kernel."""
        with socket.socket() as line:
            line.connect_ex(("127.0.0.1", self.port))

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def load(bench, server, lun, words, secs, *more):
    """One run; its figures."""
    result = server.dir / "result.json"
    cpu = str(os.cpu_count() - 1)
    address = f"iscsi://127.0.0.1:{server.port}/{IQN}/{lun}"
    shape = ["--bs", "4k", "--qd", "32", "--sessions", "4", "--secs", str(secs), "--json", result]
    command = ["taskset", "-c", cpu, bench, "bench", address, *words, *shape, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}")
    return json.loads(result.read_text())["runs"][0]


def times(builds, rounds, secs):
    """Microseconds of each I/O, by row and build."""
    servers = [Server(build, 50) for build in builds]
    found = {}
    for _ in range(rounds):
        for row, lun, words in ROWS:
            for n, server in enumerate(servers):
                pid = str(server.process.pid)
                run = load(builds[1], server, lun, words, secs, "--busy", "--warm", "0.3", "--pid", pid)
                found.setdefault((row, n), []).append(run["server_cpu_us_per_io"])
    for server in servers:
        server.stop()
    return {key: statistics.median(all) for key, all in found.items()}


def control(server, what):
    """Has callgrind do something."""
    asked = subprocess.Popen(
        ["callgrind_control", what, str(server.process.pid)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.3)
    server.poke()
    if asked.wait(60) != 0:
        sys.exit("callgrind_control fails")


def counted(server, wanted):
    """What the dump of that number says of all instructions."""
    dump = server.dir / f"callgrind.{wanted}"
    for _ in range(100):
        lines = dump.read_text().splitlines() if dump.exists() else []
        total = [line for line in lines if line.startswith(("totals:", "summary:"))]
        if total:
            return int(total[-1].split()[1])
        time.sleep(0.1)
    sys.exit(f"callgrind has not written {dump}")


def instructions(build, bench, secs):
    """Instructions of each I/O, by row."""
    server = Server(build, 0, ["valgrind", "--tool=callgrind", "--callgrind-out-file=callgrind"])
    found = {}
    for number, (row, lun, words) in enumerate(ROWS, 1):
        control(server, "-z")
        run = load(bench, server, lun, words, secs, "--warm", "0")
        control(server, "-d")
        found[row] = counted(server, number) / run["ios"]
    server.stop()
    return found


def table(took, counts):
    """The Markdown."""
    yield "| 4 KiB, qd 32 × 4 | µs before | after | ratio | instructions before | after | ratio |"
    yield "|---|---|---|---|---|---|---|"
    for row, _, _ in ROWS:
        a, b = took[row, 0], took[row, 1]
        i, j = counts[0][row], counts[1][row]
        yield f"| {row} | {a:.3f} | {b:.3f} | {b / a:.2f} | {i:,.0f} | {j:,.0f} | {j / i:.2f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs=2, metavar="PROGRAM")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--secs", type=float, default=1)
    parser.add_argument("--history", metavar="TEXT")
    given = parser.parse_args()
    builds = [str(Path(build).resolve()) for build in given.builds]
    took = times(builds, given.rounds, given.secs)
    counts = [instructions(build, builds[1], 4) for build in builds]
    lines = "\n".join(table(took, counts))
    print(lines)
    if given.history:
        day = time.strftime("%Y-%m-%d")
        command = f"benches/builds.py BEFORE AFTER --rounds {given.rounds} --secs {given.secs}"
        with (Path(__file__).parent / "HISTORY.md").open("a") as history:
            history.write(f"\n## {day}, two builds\n\n{given.history}\n\n    {command}\n\n{lines}\n")


if __name__ == "__main__":
    main()
