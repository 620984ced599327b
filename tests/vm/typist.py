#!/usr/bin/env python3
"""typist.py COMMAND...: runs it on a terminal of its own (a dumb one, or what TERMINAL is) and types the lines of standard
input there, each when it is prompted for (by "> " at the end of what was said, or what PROMPT is); a line may have other
keys in it. Prints all that was said, without what moves the cursor, and ends with the command's status."""

import os
import pty
import re
import select
import sys
import time

PATIENCE = 120  # seconds for a prompt: the machine may be slow

MOVES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\r")

prompt = os.environ.get("PROMPT", "> ").encode()
lines = sys.stdin.read().splitlines()
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = os.environ.get("TERMINAL", "dumb")
    os.execvp(sys.argv[1], sys.argv[1:])

said, since, deadline = b"", b"", time.monotonic() + PATIENCE
while time.monotonic() < deadline:
    if not select.select([terminal], [], [], 1)[0]:
        continue
    try:
        part = os.read(terminal, 65536)
    except OSError:  # the other end is closed
        part = b""
    if not part:
        break
    said, since = said + part, since + part
    if MOVES.sub(b"", since).endswith(prompt) and lines:
        os.write(terminal, lines.pop(0).encode() + b"\r")
        since, deadline = b"", time.monotonic() + PATIENCE
else:
    os.kill(pid, 9)
sys.stdout.write(MOVES.sub(b"", said).decode(errors="replace"))
if lines:
    sys.stdout.write(f"not typed: {lines}\n")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) or bool(lines))
