"""Time to 0.90 and to 0.92 of test accuracy on Fashion-MNIST: two workers of one thread, beside PyTorch DDP.

lenet5, 2 x 128 images a step, momentum 0.05, cosine under a warm-up of 100 steps; the same on both sides, and so is the
rule: every epoch ends with an evaluation of all 10,000 test images, and the time is that from the start of the first step to
the end of the first evaluation that reaches the target, all evaluations on the way included. Reading the data and starting
the processes are not counted on either side. PyTorch: two processes of one thread, gloo, images in memory (torch_ddp.py).
"""
import datetime
import json
import os
import re
import subprocess
import tempfile

from context import Skipped
from peers import pytorch
from rows import Row

TARGETS = ["tessera", "tessera-coordinator", "tessera-server", "tessera-worker"]

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
JOB = os.path.join(ROOT, "config", "examples", "fashion-lenet.yaml")
DATA = "/usr/share/datasets/fashion-mnist"
PROCESSES, BATCH = 2, 128
TIMEOUT = 1800
# Target: epochs of the schedule, whether images are flipped by chance, the PyTorchs that are asked, and the rounds in turn
# (of the long training one: it takes minutes).
GOALS = {
    0.90: (5, False, (("debian", "eager"), ("newest", "eager"), ("newest", "channels_last")), 3),
    0.92: (18, True, (("newest", "eager"), ("newest", "channels_last")), 1),
}
RUNNING = re.compile(r"^(\S+) info running: ", re.MULTILINE)
EPOCH = re.compile(r"^(\S+) info epoch \d+/\d+: .*test accuracy ([\d.]+)", re.MULTILINE)


class NotReached(Exception):
    """A training that ended below its target; says how far it came."""


def run(context):
    if not os.path.isdir(DATA):
        raise Skipped(f"no {DATA} (the package dataset-fashion-mnist)")
    if not context.peers:
        context.skip("accuracy/*/PyTorch DDP", "only with --peers")
    pytorches = pytorch.find(context) if context.peers else {}
    rows = []
    for target, (epochs, flip, forms, rounds) in GOALS.items():
        peers = [(pytorches[source], form) for source, form in forms if source in pytorches]
        rows += measure(context, target, epochs, flip, peers, rounds)
    return rows


def measure(context, target, epochs, flip, peers, rounds):
    name = f"accuracy/time_to_{target:.2f}"
    sides = {name: lambda: run_ours(context, epochs, flip)}
    for found, form in peers:
        sides[f"PyTorch {found.version} DDP {form}"] = \
            lambda found=found, form=form: run_ddp(found, form, target, epochs, flip)
    values = {side: [] for side in sides}
    for turn in range(rounds):
        context.note(f"{name}: {turn + 1} of {rounds}")
        for side in list(values):
            try:
                values[side].append(first_to_reach(target, sides[side]()))
            except (NotReached, pytorch.Unavailable) as reason:
                context.skip(name if side == name else f"{name}/{side}", str(reason))
                del values[side]  # once is enough: nobody gets there only now and then
                if side == name:
                    return []
    ours = values.pop(name)
    return [Row.of(name, "s", ours, side, theirs) for side, theirs in values.items()] or [Row.of(name, "s", ours)]


def first_to_reach(target, epochs):
    """Seconds of the first of (accuracy, seconds) that reaches `target`."""
    for accuracy, seconds in epochs:
        if accuracy >= target:
            return seconds
    raise NotReached(f"the best of {len(epochs)} epochs was {max(accuracy for accuracy, _ in epochs):.4f}")


def run_ours(context, epochs, flip):
    """(accuracy, seconds) of every epoch of a run of real daemons, by the clock of the coordinator's log."""
    keys = {"job.name": "bench", "train.epochs": epochs, "train.replicas": PROCESSES, "train.batch_size": BATCH,
            "cluster.workers": PROCESSES, "cluster.coordinator": "127.0.0.1:0", "data.augment.flip": str(flip).lower()}
    command = [context.program("tessera"), "run", JOB]
    for key, value in keys.items():
        command += ["--set", f"{key}={value}"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT)
        if done.returncode != 0:
            raise RuntimeError(f"tessera run exited with {done.returncode}: {done.stderr.strip()}")
        with open(os.path.join(folder, "runs", "bench", "logs", "coordinator.log"), encoding="utf-8") as file:
            log = file.read()
    begin = datetime.datetime.fromisoformat(RUNNING.search(log).group(1))
    return [(float(accuracy), (datetime.datetime.fromisoformat(at) - begin).total_seconds())
            for at, accuracy in EPOCH.findall(log)]


def run_ddp(found, form, target, epochs, flip):
    """(accuracy, seconds) of every epoch of PyTorch's training, up to the first that reaches the target."""
    lines = pytorch.run(found, "torch_ddp.py", ["--data", DATA, "--target", target, "--epochs", epochs, "--form", form,
                                                "--processes", PROCESSES, "--batch", BATCH, *["--flip"] * flip], TIMEOUT)
    return [(epoch["accuracy"], epoch["seconds"]) for epoch in map(json.loads, lines)]
