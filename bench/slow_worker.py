#!/usr/bin/env python3
"""What each mode of consistency makes of slow workers: images/s of a cluster of real daemons whose compute is emulated by
waiting, so that a few cores can carry it. Prints a table in Markdown.

    script/bench-slow-worker [--step-ms 100] [--seconds 15]
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "system"))
from harness import programs  # noqa: E402
from harness.cluster import Cluster  # noqa: E402
from harness.data_set import write_data_set  # noqa: E402
from harness.job import job, write_job  # noqa: E402
from harness.process import wait_until  # noqa: E402

WORKERS = 4
BATCH = 4
SLOWDOWN = 4
# Of every so many minibatches of each worker one is slow, in the second table.
EVERY = 8
MODES = {
    "sync": {"mode": "sync"},
    "sync, drop_stragglers 1": {"mode": "sync", "drop_stragglers": 1},
    "ssp, staleness 3": {"mode": "ssp", "staleness": 3},
    "grouped, group 2": {"mode": "grouped", "group": 2},
    "async": {"mode": "async"},
}
# Of `tessera status`: replica, clock, images/s, worker, and what was dropped.
REPLICA = re.compile(r"^ *replica (\d+) +clock ([\d,]+).*?(?:([\d,]+) dropped)? *$", re.MULTILINE)


def minibatches(address):
    """How many minibatches have counted so far, and the status page."""
    page = subprocess.run([programs.path("tessera"), "status", "--coordinator", address], capture_output=True,
                          text=True, timeout=20, check=True).stdout
    rows = REPLICA.findall(page)
    number = lambda text: int(text.replace(",", "") or 0)  # noqa: E731
    return sum(number(clock) - number(dropped) for _, clock, dropped in rows), len(rows), page


def measure(folder, consistency, flags_of, step_ms, seconds):
    """Minibatches a second once all are under way, and the last status page."""
    data = write_data_set(folder, train=2048, test=64)
    content = job(data, train={"consistency": consistency, "epochs": 1000, "batch_size": BATCH})
    del content["data"]["test"]
    with Cluster(folder, write_job(folder, content), servers=2, workers=WORKERS) as cluster:
        cluster.start(2, 0)
        for worker in range(WORKERS):
            cluster.start(0, 1, flags=("--emulate-ms", str(step_ms), *flags_of(worker)))
        address = cluster.address()
        # Past the start, and past the lead that a bounded mode allows.
        wait_until(lambda: minibatches(address)[0] > 12 * WORKERS, "the first minibatches")
        begin, first = time.monotonic(), minibatches(address)[0]
        time.sleep(seconds)
        last, _, page = minibatches(address)
        return (last - first) / (time.monotonic() - begin), page


def table(title, flags_of, ideal, args):
    print(f"\n{title}; all workers together could do {ideal:.2f} minibatches a step of {args.step_ms} ms\n")
    print("| mode | minibatches/s | of what all could do | staleness mean, max | clock lead |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for name, consistency in MODES.items():
        if args.mode and args.mode not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            rate, page = measure(folder, consistency, flags_of, args.step_ms, args.seconds)
        share = rate * args.step_ms / 1000 / ideal
        staleness = re.search(r"staleness (?:mean )?([\d.]+)[^\d]+([\d,]+)", page)
        lead = re.search(r"lead ([\d,]+)", page)
        print(f"| {name} | {rate:.1f} | {share:.2f} | {', '.join(staleness.groups()) if staleness else '0, 0'} | "
              f"{lead.group(1) if lead else 0} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", default="build/bin", help="folder of the programs")
    parser.add_argument("--step-ms", type=float, default=100, help="emulated minibatch of a worker that is not slow")
    parser.add_argument("--seconds", type=float, default=15, help="how long each mode is measured")
    parser.add_argument("--mode", default="", help="only modes whose name contains this")
    args = parser.parse_args()
    programs.set_folder(args.programs)

    slow = ("--slowdown", str(SLOWDOWN))
    table("No worker is slow", lambda worker: (), WORKERS, args)
    table(f"One of four workers is always {SLOWDOWN} times as slow",
          lambda worker: slow if worker == WORKERS - 1 else (), WORKERS - 1 + 1 / SLOWDOWN, args)
    table(f"Every worker is {SLOWDOWN} times as slow for one minibatch in {EVERY}, not all at once",
          lambda worker: (*slow, "--slowdown-every", str(EVERY)),
          WORKERS / (1 + (SLOWDOWN - 1) / EVERY), args)


if __name__ == "__main__":
    main()
