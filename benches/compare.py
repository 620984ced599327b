"""The results of compare.sh as Markdown tables and bars: compare.py DIR reads DIR/results.jsonl."""

import html
import json
import platform
import statistics
import sys
from pathlib import Path

ROWS = [
    ("null-4k-read", "4 KiB random read, null, qd 32 × 4"),
    ("null-4k-write", "4 KiB random write, null, qd 32 × 4"),
    ("null-4k-write-r2t", "the same without immediate data"),
    ("ram-4k-read", "4 KiB random read, ram, qd 32 × 4"),
    ("ram-4k-write", "4 KiB random write, ram, qd 32 × 4"),
    ("null-128k-read", "128 KiB sequential read, null, qd 16"),
    ("null-128k-write", "128 KiB sequential write, null, qd 16"),
    ("digest-128k-read", "the read with header and data digests"),
    ("digest-128k-write", "the write with header and data digests"),
    ("qd1-4k-read", "4 KiB random read, null, qd 1"),
    ("many", "4 KiB random read, 1,024 LUNs, 256 sessions"),
]
COLOURS = ["#7f7f7f", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"]


class Results:
    def __init__(self, path):
        self.all = [json.loads(line) for line in path.read_text().splitlines()]
        self.whos = list(dict.fromkeys(r["who"] for r in self.all))

    def of(self, who, what, field="us"):
        return [r[field] for r in self.all if (r["who"], r["what"]) == (who, what) and r.get(field) is not None]

    def median(self, who, what, field="us"):
        values = self.of(who, what, field)
        return statistics.median(values) if values else None

    def ratio(self, a, b, field="us"):
        """The median of the ratios of each round, which neighbours disturb less than a ratio of medians."""
        pairs = list(zip(self.of(*a, field), self.of(*b, field)))
        return statistics.median(x / y for x, y in pairs) if pairs else None


def number(value, digits=2):
    return "-" if value is None else f"{value:,.{digits}f}"


def cost_table(results):
    whos = results.whos
    lines = ["| server's processor time for each I/O, µs (least–most) | " + " | ".join(whos) + " |", "|---" * (len(whos) + 1) + "|"]
    for what, title in ROWS:
        cells = []
        for who in whos:
            values = results.of(who, what)
            cells.append(f"{number(statistics.median(values))} ({number(min(values))}–{number(max(values))})" if values else "-")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["", "| IOPS | " + " | ".join(whos) + " |", "|---" * (len(whos) + 1) + "|"]
    for what, title in ROWS:
        lines.append(f"| {title} | " + " | ".join(number(results.median(w, what, "iops"), 0) for w in whos) + " |")
    return lines


def ratio_table(r):
    """What is claimed: title, value, the least (>=) or the most (<=) that is aimed at."""
    ours, limit, tgt = "ringtgt", "limit", "tgt"
    rows = []
    aims = {"null-4k-read": 0.7, "null-4k-write": 0.7, "ram-4k-read": 0.6, "ram-4k-write": 0.6, "null-128k-read": 0.85, "null-128k-write": 0.85}
    for what, title in ROWS:
        if what in aims:
            rows.append((f"{title}: limit ÷ ringtgt", r.ratio((limit, what.replace("ram", "null")), (ours, what)), ">=", aims[what]))
    for verb in ["read", "write"]:
        value = r.ratio((ours, f"digest-128k-{verb}"), (ours, f"null-128k-{verb}"), "iops")
        rows.append((f"128 KiB {verb}, throughput with digests ÷ without", value, ">=", 0.85))
    rows.append(("4 KiB write without immediate data ÷ with", r.ratio((ours, "null-4k-write-r2t"), (ours, "null-4k-write")), "<=", 2.5))
    for what in ["null-4k-read", "null-4k-write", "ram-4k-read", "ram-4k-write"]:
        rows.append((f"{dict(ROWS)[what]}: tgt ÷ ringtgt", r.ratio((tgt, what), (ours, what)), ">=", 10))
    for who in [w for w in r.whos if w not in (ours, limit, tgt)]:
        for what in ["null-4k-read", "null-4k-write"]:
            rows.append((f"{dict(ROWS)[what]}: {who} ÷ ringtgt", r.ratio((who, what), (ours, what)), ">=", 1))
    rows.append(("qd 1 round trip, both sides polling: ringtgt ÷ limit", r.ratio((limit, "qd1-4k-read"), (ours, "qd1-4k-read"), "iops"), "<=", 1.2))
    rows.append(("1,024 LUNs and 256 sessions ÷ 1 and 4", r.ratio((ours, "many"), (ours, "null-4k-read")), "<=", 1.15))
    rows.append(("io_uring enters for each 4 KiB read", r.median(ours, "enters-4k-read", "value"), "<=", 0.05))
    rows.append(("io_uring enters for each 4 KiB write", r.median(ours, "enters-4k-write", "value"), "<=", 0.05))
    rows.append(("bytes copied for each byte read", r.median(ours, "copied-4k-read", "value"), "<=", 0))
    rows.append(("bytes copied for each byte written, 64 KiB", r.median(ours, "copied-64k-write", "value"), "<=", 0.25))
    rows.append(("bytes copied for each byte written, 256 KiB", r.median(ours, "copied-256k-write", "value"), "<=", 0.07))
    rows.append(("memory of 1,000 idle sessions, MiB", r.median(ours, "idle-1000-mib", "value"), "<=", 32))
    return rows


def markdown(results):
    rounds = max((r["round"] for r in results.all), default=0)
    lines = [f"Linux {platform.release()}, rounds in turns: {rounds}; medians. Servers on processor 0, load on processor 1.", ""]
    lines += ["| ratio | measured | aim | |", "|---|---|---|---|"]
    for title, value, sense, aim in ratio_table(results):
        kept = value is not None and (value >= aim if sense == ">=" else value <= aim)
        mark = "-" if value is None else "yes" if kept else "**no**"
        lines.append(f"| {title} | {number(value)} | {'≥' if sense == '>=' else '≤'} {aim} | {mark} |")
    return "\n".join(lines + [""] + cost_table(results)) + "\n"


def bars(results):
    """Horizontal bars of µs for each I/O, a group for each workload that all were asked for."""
    groups = [(what, title) for what, title in ROWS if len([w for w in results.whos if results.of(w, what)]) > 1]
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
    out = Path(sys.argv[1])
    results = Results(out / "results.jsonl")
    (out / "compare.md").write_text(markdown(results))
    (out / "compare.svg").write_text(bars(results))


if __name__ == "__main__":
    main()
