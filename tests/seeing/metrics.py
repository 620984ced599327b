#!/usr/bin/env python3
"""What is asked for by hand around promtool and Prometheus: /metrics itself, and what the dashboard wants to know.

    tests/seeing/metrics.py fetch URL ACCEPT       the page for those who accept that; fails when its type is another
    tests/seeing/metrics.py strict FILE            reads OpenMetrics by the format's own reference parser
    tests/seeing/metrics.py rules                  the dashboard's expressions as a file of rules for promtool
    tests/seeing/metrics.py ask PROMETHEUS IOPS    has them answered; the backstore `small` is known to do so many I/Os

`ask` prints PASS and FAIL lines.
"""

import json
import math
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

DASHBOARD = Path(__file__).resolve().parents[2] / "tuning/grafana.json"
# The fewest families that are a whole page: what is of reactors alone are half of these.
FAMILIES = 35
SCRAPES = 8


def read(url, accept="*/*"):
    """Without a proxy, whatever the environment says: it is asked on this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers={"Accept": accept}), timeout=30) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def fetch(url, accept):
    kind, page = read(url, accept)
    assert kind.startswith(accept), f"{kind} instead of {accept}"
    sys.stdout.write(page)


def strict(file):
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    families = list(text_string_to_metric_families(Path(file).read_text()))
    samples = sum(len(family.samples) for family in families)
    print(f"{len(families)} families, {samples} samples")
    assert len(families) >= FAMILIES and samples > len(families)


def panels():
    """Each panel's title, expression and legend."""
    whole = json.loads(DASHBOARD.read_text())
    for panel in whole["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], target.get("legendFormat", "")


def filled_in(expression, backstore=".*", interval="10s"):
    """As Grafana asks it: with values in place of the dashboard's variables."""
    for name, value in [("$instance", ".*"), ("$backstore", backstore), ("$__rate_interval", interval)]:
        expression = expression.replace(name, value)
    assert "$" not in expression, f"an unknown variable: {expression}"
    return expression


def rules():
    """JSON is YAML, too."""
    rules = [{"record": f"dashboard:{n}", "expr": filled_in(e)} for n, (_, e, _) in enumerate(panels())]
    assert len(rules) > 20, rules
    json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, sys.stdout, indent=1)


class Prometheus:
    def __init__(self, url):
        self.url = url

    def get(self, path, **query):
        _, text = read(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        return json.loads(text)["data"]

    def ask(self, expression):
        """Labels and value of each series."""
        result = self.get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def until_scraped(self):
        deadline = time.monotonic() + 60
        while True:
            count = self.ask("count_over_time(ringtgt_sessions[1m])")
            if count and count[0][1] >= SCRAPES:
                return
            assert time.monotonic() < deadline, f"no {SCRAPES} scrapes: {self.get('targets')}"
            time.sleep(0.5)


def verdict(good, what, seen):
    print("PASS" if good else "FAIL", what, flush=True)
    if not good:
        print(f"{what}: {seen}", file=sys.stderr)
    return good


def answered(prometheus, expression, legend):
    """Something, all of it numbers, and with the labels that the legend names."""
    try:
        series = prometheus.ask(filled_in(expression))
    except urllib.error.HTTPError as refusal:
        return False, f"{expression}: {refusal.read().decode()}"
    labels = re.findall(r"{{\s*(\w+)\s*}}", legend)
    good = series and all(math.isfinite(value) and all(labels_of.get(n) for n in labels) for labels_of, value in series)
    return good, f"{expression}: {series}"


def every_panel(prometheus):
    by_title = {}
    for title, expression, legend in panels():
        by_title.setdefault(title, []).append(answered(prometheus, expression, legend))
    for title, answers in by_title.items():
        bad = [seen for good, seen in answers if not good]
        yield verdict(not bad, f"Prometheus answers what the dashboard asks: {title}", bad)


def every_choice(prometheus):
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.get("definition", ""))
        if asked is None:
            continue
        values = prometheus.get(f"label/{asked[2]}/values", **{"match[]": asked[1]})
        yield verdict(values, f"the dashboard has something to choose from: {variable['label']}", values)


def right_figure(prometheus, iops):
    expression = next(e for title, e, _ in panels() if title == "Commands")
    series = prometheus.ask(filled_in(expression, backstore="small"))
    seen = sum(value for labels, value in series if labels["direction"] in ("read", "write"))
    return verdict(abs(seen - iops) < iops * 0.25, "its commands of a second are those that are sent", series)


def ask(url, iops):
    prometheus = Prometheus(url)
    prometheus.until_scraped()
    # In the older format the family's name has the _total, too.
    known = prometheus.get("metadata", metric="ringtgt_lun_commands")
    told = [
        verdict(known, "Prometheus asks for OpenMetrics and gets it", known),
        verdict(prometheus.ask("min_over_time(up[1m]) == 1"), "and understands every scrape", prometheus.get("targets")),
        *every_choice(prometheus),
        *every_panel(prometheus),
        right_figure(prometheus, float(iops)),
    ]
    sys.exit(not all(told))


if __name__ == "__main__":
    {"fetch": fetch, "strict": strict, "rules": rules, "ask": ask}[sys.argv[1]](*sys.argv[2:])
