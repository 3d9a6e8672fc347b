"""Runs through planned faults, and what must hold of each of them."""

import collections
import os
import re
import shutil
import time

from harness import programs
from harness.job import job, write_job
from harness.process import Process, children_of
from harness.results import read_summary

SERVERS, WORKERS, REPLICAS = 2, 3, 4
STEPS = 64          # 8 epochs of 512 images, 4 replicas of 16 images
INTERVAL = 10       # steps between checkpoints
LEASE = "1s"
PATIENCE = 120      # seconds for one run; most take ten

MODES = {
    "sync": (),
    "async": ("train.consistency.mode=async",),
    "ssp": ("train.consistency.mode=ssp", "train.consistency.staleness=3"),
    "grouped": ("train.consistency.mode=grouped", "train.consistency.group=2"),
}

# A run that ended: its exit code, what it said, and its summary (or None).
Result = collections.namedtuple("Result", "code out err summary seconds left")


def chaos_job(data, backups=0, **sections):
    """The small job that plans are played on; each shard has `backups`."""
    return job(data, train={"epochs": 8, "batch_size": 16, "optimizer": {"lr": 0.005}},
               cluster={"servers": SERVERS, "workers": WORKERS, "lease": LEASE, "server_backups": backups},
               checkpoint={"every": f"{INTERVAL} steps"}, **sections)


def run(folder, job_path, *flags, patience=PATIENCE):
    """Runs the job in `folder` to its end. What it leaves is there."""
    started = time.monotonic()
    process = Process("tessera-run", [programs.path("tessera"), "run", job_path, *flags], folder, folder)
    seen = {}
    try:
        while process.child.poll() is None:
            if time.monotonic() > started + patience:
                raise AssertionError(f"still runs after {patience} s: {folder}\n{process.out[-4000:]}")
            for child in _children(process.pid):
                seen.setdefault((child.pid, child.command), child)
            time.sleep(0.02)
        code = process.wait()
    finally:
        process.end()
    path = os.path.join(folder, "runs", "small")
    summary = read_summary(path) if os.path.exists(os.path.join(path, "summary.json")) else None
    left = [child for child in seen.values() if child.lives()]
    return Result(code, process.out, process.err, summary, time.monotonic() - started, left)


def _children(pid):
    try:
        return [child for child in children_of(pid) if child.command]
    except (FileNotFoundError, ProcessLookupError):
        return []


def plan_of(out):
    """The plan that the run says it plays."""
    found = re.search(r"^chaos, seed \d+: (.*)$", out, re.MULTILINE)
    return found.group(1) if found else ""


def statements(plan):
    return [statement.strip() for statement in plan.split(";") if statement.strip()]


def injected(summary):
    return [event for event in summary["events"] if event["what"] == "injected"]


def step_of(event):
    """Of a checkpoint, or that a rewind goes back to."""
    found = re.search(r"\bstep (\d+)", event["message"])
    return int(found.group(1)) if found else 0


def lost_steps(summary):
    """The steps since the newest whole checkpoint, for each rewind."""
    told = [event["message"] for event in summary["events"] if event["what"] == "rewind"]
    return [int(re.search(r"(\d+) steps? to be done again", message).group(1)) for message in told]


def recomputed_bound(plan, summary, in_step):
    """Steps that may be computed again: for each rewind those since the checkpoint; and for each fault one, where replicas are
    `in_step`, that is in sync, else one of each replica."""
    return len(statements(plan)) * (1 if in_step else REPLICAS) + sum(lost_steps(summary))


def problems(result, plan, digest):
    """What does not hold of a run through `plan`, as lines; `digest`: of the undisturbed run, or None where replicas do not
    keep step."""
    if result.code != 0 or result.summary is None:
        return [f"exit code {result.code}: {result.err.strip()}"]
    summary, found = result.summary, []

    def expect(holds, words):
        if not holds:
            found.append(words)

    expect(summary["status"] == "done", f"status {summary['status']}")
    expect(summary["steps"] == STEPS, f"{summary['steps']} of {STEPS} steps")
    expect(digest in (None, summary["weights_digest"]), f"digest {summary['weights_digest']}, not {digest}")
    expect(summary["applied_minibatches"] == {"min": STEPS, "max": STEPS},
           f"applied minibatches {summary['applied_minibatches']}, not {STEPS} each")
    bound = recomputed_bound(plan, summary, digest is not None)
    expect(summary["recomputed_steps"] <= bound, f"recomputed {summary['recomputed_steps']}, bound {bound}")
    newest = 0
    for event in summary["events"]:
        if event["what"] == "checkpoint":
            newest = step_of(event)
        elif event["what"] == "rewind":
            expect(step_of(event) >= newest, f"there was a checkpoint at step {newest}, but {event['message']}")
            newest = step_of(event)
    told = sorted(event["message"] for event in injected(summary))
    expect(told == sorted(statements(plan)), f"injected {told}")
    for event in injected(summary):
        single = event["node"] != "all"
        expect(not single or event["pid"] > 0, f"no pid of {event}")
    expect(not result.left, f"left behind: {result.left}")
    return found


class Trial:
    """Plays plans on one job, in a folder for each run below `root`."""

    def __init__(self, root, data, mode="sync", backups=0):
        self.root = root
        self.mode = mode
        self.job_path = write_job(root, chaos_job(data, backups))
        self.digest = None

    def flags(self):
        return [f"--set={setting}" for setting in MODES[self.mode]]

    def undisturbed(self):
        """Runs without faults, once; later runs are compared with it."""
        result = run(self.folder("undisturbed"), self.job_path, *self.flags())
        found = problems(result, "", None)
        if found:
            raise AssertionError(f"the undisturbed run: {found}\n{result.out}")
        self.digest = result.summary["weights_digest"] if self.mode == "sync" else None
        return result

    def play(self, seed, plan="random", name=None):
        """Runs in the folder `name`, or plan-SEED. Returns (plan text, result, problems)."""
        result = run(self.folder(name or f"plan-{seed}"), self.job_path, *self.flags(), "--chaos", plan, "--chaos-seed",
                     str(seed))
        plan = plan_of(result.out) or plan
        return plan, result, problems(result, plan, self.digest)

    def folder(self, name):
        path = os.path.join(self.root, name)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        return path


def line_of(seed, plan, result, found):
    """One line for a plan that was played."""
    summary = result.summary or {}
    return (f"{'ok' if not found else 'FAILED'}  seed {seed}  {result.seconds:.1f} s  "
            f"rewinds {summary.get('rewinds', '-')}  recomputed {summary.get('recomputed_steps', '-')}  {plan}"
            + "".join(f"\n  {line}" for line in found))
