#!/usr/bin/env python3
"""The page at / in a real browser: what it shows of a daemon at work, and what it says when that has gone.

    tests/seeing/page.py URL IOPS PID DIR

Two sessions load the backstore `small` with so many I/Os a second, a third one loads `large` with fewer but longer ones;
the daemon has two reactors. PID is the daemon's, which is asked to end when all else was seen. The browser's profile and
pictures of the page go to DIR. Prints PASS and FAIL lines.
"""

import base64
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 30
TABLES = ["units", "sessions", "phases", "reactors"]
ROWS = f"""Object.fromEntries({TABLES}.map(id => [id,
  [...document.getElementById(id)?.rows ?? []].map(row => [...row.cells].map(cell => cell.textContent))]))"""
TROUBLE = "document.getElementById('trouble').textContent"


class Browser:
    """Chromium, spoken to over two pipes: JSON, each message ended by a zero byte (its DevTools protocol)."""

    def __init__(self, profile):
        there, self.to = os.pipe()
        self.come, back = os.pipe()
        # Not among the numbers that they get there.
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (there, back)]
        # It complains of the desktop that is not there.
        complaints = open(f"{profile}.log", "w")
        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-proxy-server", "--no-first-run",
             "--disable-dev-shm-usage", "--disable-background-networking", "--window-size=1200,1000",
             "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=lambda: [os.dup2(end, n) for end, n in zip(ends, (3, 4))],
            close_fds=False, stdout=complaints, stderr=complaints, stdin=subprocess.DEVNULL)
        for fd in (there, back, *ends):
            os.close(fd)
        self.rest, self.number, self.session, self.said = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log"]:
            self.call(f"{domain}.enable")

    def message(self, deadline):
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.come], [], [], max(0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            some = os.read(self.come, 1 << 16)
            assert some, "the browser has ended"
            self.rest += some
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        request = {"id": self.number, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.to, json.dumps(request).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            message = self.message(deadline)
            self.listen(message)
            if message.get("id") == self.number:
                assert "error" not in message, f"{method}: {message}"
                return message["result"]

    def listen(self, message):
        """Keeps what would stand in its console."""
        if message.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.said.append(message["params"])

    def look(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, file):
        png = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        Path(file).write_bytes(base64.b64decode(png))

    def end(self):
        self.session = None
        self.call("Browser.close")
        self.process.wait(PATIENCE)


def number(text):
    """A figure of the page."""
    times = {"M": 1e6, "k": 1e3}.get(text[-1], 1)
    return float(text.rstrip("Mk")) * times


def is_time(text):
    figure, unit = text.split(" ")
    return float(figure) > 0 and unit in ("µs", "ms", "s")


def row(rows, table, name):
    return next(r for r in rows[table] if r[0].startswith(name))


def has_all_rows(rows):
    return {table: len(rows[table]) - 1 for table in TABLES} == {"units": 2, "sessions": 3, "phases": 10, "reactors": 2}


def has_right_figures(rows, iops):
    """What the load is known to be, give or take what falls into one second."""
    small, large = row(rows, "units", "small"), row(rows, "units", "large")
    seen = number(small[1]) + number(small[2])
    each = (number(large[3]) + number(large[4])) * 1e6 / (number(large[1]) + number(large[2]))
    return abs(seen - iops) < iops * 0.3 and abs(each - (256 << 10)) < (256 << 10) * 0.1


def has_times(rows):
    times = [*row(rows, "units", "small")[6:], *row(rows, "units", "large")[6:]]
    for phase in ["read: disk", "read: total", "write: disk", "write: total"]:
        times += row(rows, "phases", phase)[1:]
    return len(times) == 18 and all(map(is_time, times))


def has_sessions(rows):
    sessions = rows["sessions"][1:]
    ours = [s for s in sessions if s[0].startswith("iqn.2026-11.org.example:i") and " from 127.0.0.1:" in s[0]]
    return len(ours) == 3 and all(number(s[1]) + number(s[2]) > 0 for s in ours)


def has_reactors(rows):
    reactors = rows["reactors"][1:]
    return sum(int(r[2]) for r in reactors) == 3 and any(number(r[1]) > 0 for r in reactors)


class Test:
    def __init__(self, browser):
        self.browser, self.failed = browser, False

    def until(self, what, seen, good, seconds=PATIENCE):
        """PASS as soon as what is seen is good."""
        deadline = time.monotonic() + seconds
        while True:
            last = seen()
            if good(last):
                break
            if time.monotonic() > deadline:
                print(f"{what}: {last}", file=sys.stderr)
                self.failed = True
                print("FAIL", what, flush=True)
                return
            time.sleep(0.3)
        print("PASS", what, flush=True)

    def rows(self):
        return self.browser.look(ROWS)

    def sees(self, what, good):
        """Rows that are not there yet are no reason to give up."""
        def patient(rows):
            try:
                return good(rows)
            except (StopIteration, ValueError, IndexError, ZeroDivisionError):
                return False
        self.until(what, self.rows, patient)

    def sorts(self, column, first):
        self.browser.look(f"document.getElementById('units').rows[0].cells[{column}].click()")
        self.sees(f"a click sorts by {['name', 'reads', '', 'bytes read'][column]}",
                  lambda rows: rows["units"][1][0] == first)

    def moves(self):
        before = self.rows()
        self.until("the figures go on by themselves", self.rows, lambda rows: rows != before)


def run(url, iops, pid, directory):
    browser = Browser(f"{directory}/profile")
    test = Test(browser)
    browser.call("Page.navigate", url=url)
    test.sees("the page has rows of all units, sessions, phases and reactors", has_all_rows)
    test.sees("commands and bytes of a second are those that are sent", lambda rows: has_right_figures(rows, iops))
    test.sees("latencies are told, and where the time goes", has_times)
    test.sees("sessions are told by name and address", has_sessions)
    test.sees("reactors have the connections", has_reactors)
    test.moves()
    browser.picture(f"{directory}/page.png")
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    browser.picture(f"{directory}/page-dark.png")
    test.sorts(3, "large")
    test.sorts(1, "small")
    test.sorts(0, "large")
    test.until("there is no trouble", lambda: browser.look(TROUBLE), lambda text: text == "", 0)
    test.until("nothing stands in the browser's console", lambda: browser.said, lambda said: said == [], 0)
    os.kill(pid, signal.SIGTERM)
    test.until("it says so when the daemon has gone", lambda: browser.look(TROUBLE),
               lambda text: text.startswith("The daemon does not answer"))
    browser.end()
    sys.exit(test.failed)


if __name__ == "__main__":
    run(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
