"""What a backup and a checkpoint cost, and for how long training stands still when a daemon is killed.

Real daemons on loopback, two servers and two workers, sync. A killed daemon is not started again; `stall` is the longest time
between two steps of a worker that lives. Where only the servers' side matters, workers wait instead of computing
(`--emulate-ms`), so that two cores are enough.
"""
import os
import signal
import statistics
import tempfile
import time

from harness import programs
from harness.cluster import Cluster
from harness.job import write_job
from harness.process import wait_until
from harness.results import read_summary
from harness.synthetic import npy_data_set
from harness.trace import Trace
from rows import Row, in_turn

TARGETS = ["tessera-coordinator", "tessera-server", "tessera-worker"]

# Network: images of an epoch, shape, batch; the epoch is the whole run.
NETS = {"lenet5": (38400, (1, 28, 28), 64), "resnet20": (3840, (3, 32, 32), 64)}
ROUNDS, STRIKES = 7, 5
# Of the checkpoint's cost: with Adam three times the weights.
SAVED, SAVED_SHAPE, SAVED_EVERY, SAVED_STEPS = "resnet18", (3, 32, 32), 5, 60

JOB = """\
job: {{ name: bench, seed: 1 }}
model: {net}
data:
  train: {{ format: npy, inputs: [image={folder}/images.npy], labels: {folder}/labels.npy }}
  normalize: {{ mean: [{mean}], std: [{std}] }}
train:
  replicas: 2
  batch_size: {batch}
  epochs: {epochs}
  optimizer: {{ name: {optimizer}, lr: 1e-4 }}
  consistency: {{ mode: sync }}
cluster: {{ coordinator: 127.0.0.1:0, servers: 2, workers: 2, server_backups: {backups} }}
checkpoint: {{ every: {every} }}
device: {{ kind: cpu, threads: 1 }}
"""


def _job(context, folder, net, images, shape, batch, **values):
    data = npy_data_set(context.data, net, images, shape)
    channels = shape[0]
    values = {"epochs": 1, "optimizer": "momentum", "backups": 0, "every": "never", **values}
    return write_job(folder, JOB.format(net=net, folder=data, batch=batch, mean=", ".join(["128"] * channels),
                                        std=", ".join(["64"] * channels), **values))


def _cluster(folder, job):
    return Cluster(folder, job, servers=2, workers=2)


def _await_end(cluster, timeout):
    wait_until(lambda: all(process.child.poll() is not None for process in cluster.processes()), "the job's end", timeout)
    for process in cluster.processes():
        if process.child.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"{process.name}: {process.out}\n{process.err}")


def _steps(folder, worker):
    """A worker's steps, in order."""
    steps = Trace(os.path.join(folder, f"trace-{worker}.json")).select("step")
    return sorted(steps, key=lambda step: step.end)


def _start_traced(cluster, folder, emulated_ms):
    cluster.start(2, 0)
    for worker in range(2):
        cluster.start(0, 1, flags=("--trace", os.path.join(folder, f"trace-{worker}.json"), "--emulate-ms", str(emulated_ms)))


def _speed(context, net, backups):
    """Images a second, as the summary tells: training alone, waiting included."""
    images, shape, batch = NETS[net]
    with tempfile.TemporaryDirectory() as folder, \
            _cluster(folder, _job(context, folder, net, images, shape, batch, backups=backups)) as cluster:
        cluster.start(2, 2)
        _await_end(cluster, 120)
        return read_summary(cluster.run_folder)["images_per_second"]


def _backup_rows(context):
    rows = []
    for net in NETS:
        context.note(f"recovery: what a backup costs {net}")
        values = in_turn({backups: lambda backups=backups: _speed(context, net, backups) for backups in (0, 1)}, ROUNDS)
        rows.append(Row.of(f"recovery/backup/{net}", "images/s", values[1], "no backup", values[0]))
    return rows


def _pauses(context):
    """(the checkpoint's MB, milliseconds between two steps over a checkpoint, the same elsewhere)."""
    with tempfile.TemporaryDirectory() as folder:
        job = _job(context, folder, SAVED, 8 * SAVED_STEPS, SAVED_SHAPE, 4, optimizer="adam", every=f"{SAVED_EVERY} steps")
        with _cluster(folder, job) as cluster:
            _start_traced(cluster, folder, emulated_ms=300)
            _await_end(cluster, 120)
            checkpoints = os.path.join(cluster.run_folder, "checkpoints")
            newest = os.path.join(checkpoints, sorted(os.listdir(checkpoints))[-1])
            megabytes = sum(entry.stat().st_size for entry in os.scandir(newest)) / 1e6
        steps = _steps(folder, 0)
    periods = {step.clock: (step.end - before.end) / 1e3 for before, step in zip(steps, steps[1:])}
    # The update that ends clock c makes version c + 1, which is saved; step c + 1 waits for it.
    saved = [took for clock, took in periods.items() if clock % SAVED_EVERY == 0]
    others = [took for clock, took in periods.items() if clock % SAVED_EVERY not in (0, 1)]
    return megabytes, statistics.median(saved), statistics.median(others)


def _checkpoint_rows(context):
    context.note("recovery: what a checkpoint costs")
    measured = [_pauses(context) for _ in range(3)]
    return [Row.of("recovery/checkpoint/size", "MB", [size for size, _, _ in measured]),
            Row.of("recovery/checkpoint/step", "ms", [saved for _, saved, _ in measured], "a step without one",
                   [other for _, _, other in measured]),
            Row.of("recovery/checkpoint/pause", "ms", [saved - other for _, saved, other in measured])]


def _now():
    """As traces have it: microseconds."""
    return time.monotonic() * 1e6


def _stall(context, victim):
    """Seconds of the longest pause between two steps of a worker that lives, when `victim` is killed."""
    with tempfile.TemporaryDirectory() as folder:
        images, shape, batch = NETS["lenet5"]
        job = _job(context, folder, "lenet5", images, shape, batch, epochs=1000, backups=1)
        with _cluster(folder, job) as cluster:
            _start_traced(cluster, folder, emulated_ms=20)
            cluster.wait_for_log("epoch 1/")
            killed = {"worker": cluster.workers[1], "server": cluster.servers[0], "coordinator": cluster.coordinator}[victim]
            struck = _now()
            killed.send(signal.SIGKILL)
            killed.wait()
            if victim == "coordinator":
                cluster.restart_coordinator()
                cluster.wait_for_log("the coordinator was started again")
                cluster.wait_for_log("epoch ")
            else:
                cluster.wait_for_log("training goes on at step")
            recovered = _now()
            cluster.coordinator.send(signal.SIGTERM)
            _await_end(cluster, 60)
        steps = [step for step in _steps(folder, 0) if step.end < recovered]
        return max(step.end - before.end for before, step in zip(steps, steps[1:]) if step.end > struck) / 1e6


def _stall_rows(context):
    rows = []
    for victim in ("worker", "server", "coordinator"):
        context.note(f"recovery: a killed {victim}")
        rows.append(Row.of(f"recovery/stall/{victim}", "s", [_stall(context, victim) for _ in range(STRIKES)],
                           "lease + 1 s", [4.0]))
    return rows


def run(context):
    programs.set_folder(context.programs)
    return _backup_rows(context) + _checkpoint_rows(context) + _stall_rows(context)
