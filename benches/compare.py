"""The results of compare.sh as Markdown tables and bars.

compare.py DIR [--history BENCHES --command TEXT] reads DIR/results.jsonl. The exit status is 1 when a target is missed or
what it is about was not measured.
"""

import argparse
import html
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROWS = [
    ("null-4k-read", "4 KiB random read, null, qd 32 × 4"),
    ("null-4k-write", "4 KiB random write, null, qd 32 × 4"),
    ("null-4k-write-r2t", "the same without immediate data"),
    ("ram-4k-read", "4 KiB random read, ram, qd 32 × 4"),
    ("ram-4k-write", "4 KiB random write, ram, qd 32 × 4"),
    ("loop-4k-read", "4 KiB random read, loop device, qd 32 × 4"),
    ("loop-4k-write", "4 KiB random write, loop device, qd 32 × 4"),
    ("null-128k-read", "128 KiB sequential read, null, qd 16"),
    ("null-128k-write", "128 KiB sequential write, null, qd 16"),
    ("digest-128k-read", "the read with header and data digests"),
    ("digest-128k-write", "the write with header and data digests"),
    ("null-1m-read", "1 MiB sequential read, null, qd 8"),
    ("null-1m-write", "1 MiB sequential write, null, qd 8"),
    ("null-16m-read", "16 MiB sequential read, null, qd 2"),
    ("null-16m-write", "16 MiB sequential write, null, qd 2"),
    ("qd1-4k-read", "4 KiB random read, null, qd 1"),
    ("one-4k-read", "4 KiB random read, null, 1 reactor, the load anywhere"),
    ("two-4k-read", "the same with 2 reactors"),
    ("one-4k-write", "4 KiB random write, null, 1 reactor, the load anywhere"),
    ("two-4k-write", "the same with 2 reactors"),
    ("few", "4 KiB random read, 1 LUN of 1,024, qd 32 × 4 sessions"),
    ("many", "4 KiB random read, 1,024 LUNs, qd 32 × 256 sessions"),
    ("few-deep", "4 KiB random read, 1 LUN of 1,024, qd 256 × 4 sessions"),
    ("many-thin", "4 KiB random read, 1,024 LUNs, qd 4 × 256 sessions"),
]
# The load's own cost, where it sleeps when there is nothing to do: what it costs while it spins says nothing.
CLIENT_ROWS = [
    ("client-4k-read", "4 KiB random read, qd 32"),
    ("client-4k-write", "4 KiB random write, qd 32"),
    ("client-128k-read", "128 KiB sequential read, qd 16"),
    ("client-digest-128k-read", "the same with header and data digests"),
    ("client-128k-write", "128 KiB sequential write, qd 16"),
    ("client-digest-128k-write", "the same with header and data digests"),
]
COLOURS = ["#7f7f7f", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"]
OURS, LIMIT, TGT, ISTGT = "ringtgt", "limit", "tgt", "istgt"


class Results:
    def __init__(self, path):
        self.all = [json.loads(line) for line in path.read_text().splitlines()]
        order = [LIMIT, OURS, TGT, ISTGT]
        found = list(dict.fromkeys(r["who"] for r in self.all))
        self.whos = [w for w in order if w in found] + [w for w in found if w not in order]

    def by_round(self, who, what, field="us"):
        """The value of each round that has one."""
        mine = (r for r in self.all if (r["who"], r["what"]) == (who, what))
        return {r["round"]: r[field] for r in mine if r.get(field) is not None}

    def of(self, who, what, field="us"):
        return list(self.by_round(who, what, field).values())

    def median(self, who, what, field="us"):
        values = self.of(who, what, field)
        return statistics.median(values) if values else None

    def ratio(self, a, b, field="us"):
        """The median of the ratios of each round, which neighbours disturb less than a ratio of medians."""
        a, b = self.by_round(*a, field), self.by_round(*b, field)
        pairs = [a[n] / b[n] for n in a if b.get(n)]
        return statistics.median(pairs) if pairs else None

    def busy(self, who, what):
        """The share of its processor that the server had to work, in percent."""
        us, iops = self.by_round(who, what), self.by_round(who, what, "iops")
        shares = [us[n] * iops[n] / 1e4 for n in us if n in iops]
        return statistics.median(shares) if shares else None


def number(value, digits=2):
    return "-" if value is None else f"{value:,.{digits}f}"


def table(results, caption, rows, whos, cell):
    lines = [f"| {caption} | " + " | ".join(whos) + " |", "|---" * (len(whos) + 1) + "|"]
    for what, title in rows:
        lines.append(f"| {title} | " + " | ".join(cell(who, what) for who in whos) + " |")
    return lines + [""]


def spread(results, field):
    def cell(who, what):
        values = results.of(who, what, field)
        return f"{number(statistics.median(values))} ({number(min(values))}–{number(max(values))})" if values else "-"

    return cell


def cost_tables(results):
    whos = results.whos
    lines = table(results, "server's processor time for each I/O, µs (least–most)", ROWS, whos, spread(results, "us"))
    lines += table(results, "IOPS", ROWS, whos, lambda who, what: number(results.median(who, what, "iops"), 0))
    title = "the load's processor time for each I/O, µs (least–most)"
    return lines + table(results, title, CLIENT_ROWS, [LIMIT, OURS], spread(results, "client"))


def claims(r):
    """What is claimed: title, value, and the least (>=) or the most (<=) that is aimed at; None: it is only told."""
    titles = dict(ROWS)
    rows = []
    fact = lambda what: r.median(OURS, what, "value")

    def claim(title, value, sense=None, aim=None):
        rows.append((title, value, sense, aim))

    def share(what, limit, aim=None):
        # Whose load sets the pace sleeps and wakes, and has less to do at a time: it costs more than it had to.
        busy = r.busy(LIMIT, limit)
        bound = f" (at most: the limit works {busy:.0f} % of the time)" if busy is not None and busy < 95 else ""
        claim(f"{titles[what]}: limit ÷ ringtgt{bound}", r.ratio((LIMIT, limit), (OURS, what)), aim and ">=", aim)

    aims = {"null-4k": 0.7, "ram-4k": 0.6, "loop-4k": 0.85, "null-128k": 0.85}
    for kind, aim in aims.items():
        for what in (f"{kind}-read", f"{kind}-write"):
            share(what, what.replace("ram-4k-write", "null-4k-write"), aim)
    for what in ("null-1m-read", "null-1m-write", "null-16m-read", "null-16m-write"):
        share(what, what)
    for verb in ("read", "write"):
        with_them, without = (OURS, f"digest-128k-{verb}"), (OURS, f"null-128k-{verb}")
        claim(f"128 KiB {verb}, throughput with digests ÷ without", r.ratio(with_them, without, "iops"), ">=", 0.85)
        claim(f"128 KiB {verb}, server's time without digests ÷ with", r.ratio(without, with_them))
        client = (OURS, f"client-128k-{verb}"), (OURS, f"client-digest-128k-{verb}")
        claim(f"128 KiB {verb}, load's time without digests ÷ with", r.ratio(*client, "client"))
        claim(f"128 KiB {verb} with digests, server busy, %: if less than 100 the load sets the pace", r.busy(*with_them))
    claim("4 KiB write without immediate data ÷ with", r.ratio((OURS, "null-4k-write-r2t"), (OURS, "null-4k-write")), "<=", 2.5)
    for what in ("null-4k-read", "null-4k-write", "ram-4k-read", "ram-4k-write"):
        claim(f"{titles[what]}: tgt ÷ ringtgt", r.ratio((TGT, what), (OURS, what)), ">=", 10)
    for what in ("ram-4k-read", "ram-4k-write"):
        claim(f"{titles[what]}: istgt ÷ ringtgt", r.ratio((ISTGT, what), (OURS, what)), ">=", 10)
    for who in r.whos:
        if who not in (OURS, LIMIT, TGT, ISTGT):
            for what in ("null-4k-read", "null-4k-write"):
                claim(f"{titles[what]}: {who} ÷ ringtgt", r.ratio((who, what), (OURS, what)))
    # The rate at depth 1 is what a round trip takes, turned over.
    claim("qd 1 round trip, both sides polling: ringtgt ÷ limit", r.ratio((LIMIT, "qd1-4k-read"), (OURS, "qd1-4k-read"), "iops"), "<=", 1.2)
    claim("1,024 LUNs and 256 sessions ÷ 1 and 4, qd 32 each", r.ratio((OURS, "many"), (OURS, "few")), "<=", 1.15)
    # What has few commands outstanding has its own receive and send for each few of them, whoever serves it.
    for who in (OURS, LIMIT):
        claim(f"qd 4 × 256 sessions ÷ qd 256 × 4: {who}", r.ratio((who, "many-thin"), (who, "few-deep")))
    claim("qd 4 × 256 sessions: limit ÷ ringtgt with 1,024 LUNs", r.ratio((LIMIT, "many-thin"), (OURS, "many-thin")))
    for verb in ("read", "write"):
        claim(f"4 KiB {verb}, 2 reactors ÷ 1", r.ratio((OURS, f"two-4k-{verb}"), (OURS, f"one-4k-{verb}")), "<=", 1.1)
        for reactors in ("one", "two"):
            claim(f"io_uring enters for each of these, {reactors}", fact(f"{reactors}-enters-4k-{verb}"))
    # A turn moves at most a MiB of long transfers each way, some hundred microseconds, about what a read alone takes here; the
    # loads, too, share a processor, which each has for as long as its system call takes.
    for verb in ("write", "read"):
        beside = r.ratio((OURS, f"fair-beside-{verb}"), (OURS, "fair-alone"), "p99")
        claim(f"4 KiB reads, p99 beside another session's 1 MiB {verb}s ÷ alone", beside, "<=", 15)
        claim(f"MiB of these {verb}s a second: or there was nothing beside", fact(f"fair-{verb}"), ">=", 200)
    for verb in ("read", "write"):
        claim(f"the load's processor time for each 4 KiB {verb} at qd 32 × 4, spinning included, µs", r.median(OURS, f"null-4k-{verb}", "client"), "<=", 1)
        claim(f"the same at qd 32, where it sleeps: the limit's load ÷ ringtgt's", r.ratio((LIMIT, f"client-4k-{verb}"), (OURS, f"client-4k-{verb}"), "client"))
    claim("io_uring enters for each 4 KiB read", fact("enters-4k-read"), "<=", 0.05)
    claim("io_uring enters for each 4 KiB write", fact("enters-4k-write"), "<=", 0.05)
    for size in ("4k", "64k", "256k"):
        claim(f"bytes copied for each byte read, {size[:-1]} KiB", fact(f"copied-{size}-read"), "<=", 0)
    claim("bytes copied for each byte written, 4 KiB", fact("copied-4k-write"))
    claim("bytes copied for each byte written, 64 KiB", fact("copied-64k-write"), "<=", 0.25)
    claim("bytes copied for each byte written, 256 KiB", fact("copied-256k-write"), "<=", 0.07)
    claim("memory that the first load adds, MiB", fact("load-mib"))
    claim("memory that the same load adds once more, MiB", fact("load-again-mib"), "<=", 1)
    claim("memory of 1,000 idle sessions, MiB", fact("idle-1000-mib"), "<=", 32)
    claim("processor time of 1,000 idle sessions, % of a core", fact("idle-1000-percent"), "<=", 0.5)
    return rows


def verdict(value, sense, aim):
    if value is None:
        return "**not measured**"
    if sense is None:
        return ""
    return "PASS" if (value >= aim if sense == ">=" else value <= aim) else "**missed**"


def claim_table(r):
    lines = ["| | measured | aim | |", "|---|---|---|---|"]
    for title, value, sense, aim in claims(r):
        sign = {">=": "≥ ", "<=": "≤ ", None: ""}[sense]
        digits = 3 if aim is not None and aim < 0.1 else 2
        lines.append(f"| {title} | {number(value, digits)} | {sign}{'' if aim is None else aim} | {verdict(value, sense, aim)} |")
    return lines


def failures(r):
    """Claims that do not hold, and rows that nobody measured."""
    broken = [title for title, value, sense, aim in claims(r) if verdict(value, sense, aim).startswith("**")]
    rows = [title for what, title in ROWS + CLIENT_ROWS if not r.of(OURS, what)]
    return broken, rows


def markdown(results):
    rounds = max((r["round"] for r in results.all), default=0)
    lines = [f"Linux {platform.release()}, {processor()}, {os.cpu_count()} processors; rounds in turns: {rounds}; medians.", ""]
    lines += claim_table(results) + [""] + cost_tables(results)
    return "\n".join(lines)


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.split(":", 1)[1].split())
    return platform.machine()


HISTORY = """# What was measured, and by which command

Each section is one run of `benches/compare.sh --history`, or of `benches/builds.py --history`, newest last. Figures of
different sections come from different days, and perhaps machines: only the ratios within one can be compared with those
within another.
"""


def remember(results, benches, command):
    file = benches / "HISTORY.md"
    said = file.read_text() if file.exists() else HISTORY
    version = subprocess.run(["git", "describe", "--always", "--dirty", "--tags"], capture_output=True, text=True).stdout.strip()
    file.write_text(f"{said}\n## {time.strftime('%Y-%m-%d', time.gmtime())}, {version or 'unknown'}\n\n    {command}\n\n{markdown(results)}")
    (benches / "compare.svg").write_text(bars(results))


def bars(results):
    """Horizontal bars of µs for each I/O, a group for each workload that all were asked for."""
    # Beside transfers of a MiB and more nothing else could be seen.
    small = [(what, title) for what, title in ROWS if not what.startswith(("null-1m", "null-16m"))]
    groups = [(what, title) for what, title in small if len([w for w in results.whos if results.of(w, what)]) > 1]
    width, left, bar, gap = 860, 270, 15, 16
    values = [v for what, _ in groups for w in results.whos if (v := results.median(w, what))]
    if not values:
        return '<svg xmlns="http://www.w3.org/2000/svg"/>\n'
    top = max(values)
    out, y = [], 60
    for n, who in enumerate(results.whos):
        out.append(f'<rect x="{left + n * 110}" y="28" width="12" height="12" fill="{COLOURS[n % 6]}"/><text x="{left + n * 110 + 18}" y="39">{html.escape(who)}</text>')
    for what, title in groups:
        mine = [(n, v) for n, w in enumerate(results.whos) if (v := results.median(w, what)) is not None]
        out.append(f'<text class="e" x="{left - 10}" y="{y + len(mine) * bar / 2 + 4}">{html.escape(title)}</text>')
        for n, value in mine:
            # The root keeps both a limit and a slow server visible.
            length = (value / top) ** 0.5 * (width - left - 70)
            out.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 3}" fill="{COLOURS[n % 6]}"/>')
            out.append(f'<text x="{left + length + 6:.1f}" y="{y + 10}">{value:.2f}</text>')
            y += bar
        y += gap
    style = "text{font:12px system-ui,sans-serif;fill:#333}.e{text-anchor:end}.b{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#ddd}.b{fill:#1b1b1b}}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}"><style>{style}</style><rect class="b" width="{width}" height="{y}"/>'
    title = f'<text x="{left}" y="16">Processor time of the server for each I/O, µs (bars: square root)</text>'
    return "\n".join([head, title, *out, "</svg>"]) + "\n"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("dir", type=Path)
    arguments.add_argument("--history", type=Path, metavar="BENCHES")
    arguments.add_argument("--command", default="benches/compare.sh")
    arguments = arguments.parse_args()
    results = Results(arguments.dir / "results.jsonl")
    (arguments.dir / "compare.md").write_text(markdown(results))
    (arguments.dir / "compare.svg").write_text(bars(results))
    if arguments.history:
        remember(results, arguments.history, arguments.command)
    broken, rows = failures(results)
    for title in broken:
        print(f"missed: {title}", file=sys.stderr)
    for title in rows:
        print(f"not measured: {title}", file=sys.stderr)
    sys.exit(1 if broken or rows else 0)


if __name__ == "__main__":
    main()
