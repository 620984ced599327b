#!/usr/bin/env python3
"""churn.py SOCKET COUNT: by the control socket of a daemon, so many logical units come, each with an initiator that may
see it, and go, each by a change of its own. In the end what is served is what was."""

import json
import socket
import sys
import time

IQN = "iqn.2023-03.sample.ec2:churn"


def ask(method, **params):
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.connect(sys.argv[1])
        daemon.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")
        answer = json.loads(daemon.makefile().readline())
    if "error" in answer:
        sys.exit(f"{method}: {answer['error']}")
    return answer["result"]


def visitor(n):
    return f"iqn.2023-03.sample.ec2:visitor-{n}"


def text(count):
    stores = "".join(f'[[backstore]]\nkind = "null"\nname = "churn-{n}"\nsize = "1G"\n' for n in range(count))
    luns = "".join(f'[[target.tpg.lun]]\nlun = {n}\nbackstore = "churn-{n}"\n' for n in range(count))
    acls = "".join(
        f'[[target.tpg.acl]]\ninitiator = "{visitor(n)}"\nmapped_lun = [{{ lun = 0, tpg_lun = {n} }}]\n' for n in range(count)
    )
    target = f'[[target]]\niqn = "{IQN}"\n[[target.tpg]]\nportals = ["0.0.0.0:3260", "[::]:3260"]\n'
    return before + stores + target + luns + acls


count, begin = int(sys.argv[2]), time.monotonic()
before = ask("config.get")["toml"]
for n in [*range(1, count + 1), *range(count - 1, 0, -1)]:
    plan = ask("config.apply", toml=text(n))
    if len(plan["sessions"]) > 0 or plan.get("warnings"):
        sys.exit(f"with {n}: {plan}")
ask("config.apply", toml=before)
print(f"{2 * count} changes in {time.monotonic() - begin:.1f} s")
