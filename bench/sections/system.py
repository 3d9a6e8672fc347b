"""Real daemons on loopback against the same executors without a cluster, start-up time, and memory.

Sync, momentum, no test set, synthetic images in npy files, one thread a worker. Both sides load and normalise the same
minibatches with the same loader, ahead of the step on a thread of its own, and take the same number of steps, the first one
included; the executors alone keep their weights, so that nothing is exchanged and nothing updated. One run is one sample.
"""
import json
import os
import subprocess
import tempfile
import time

from harness import programs
from harness.cluster import Cluster
from harness.job import write_job
from harness.process import Process, wait_until
from harness.results import read_summary
from harness.synthetic import npy_data_set
from rows import Row, in_turn

TARGETS = ["executor_alone", "tessera", "tessera-coordinator", "tessera-server", "tessera-worker"]

ROUNDS, OTHER_ROUNDS = 7, 3
# Network: images of an epoch, shape, batch; the epoch is the whole run.
NETS = {"lenet5": (19200, (1, 28, 28), 64), "resnet20": (2560, (3, 32, 32), 64), "resnet18": (576, (3, 64, 64), 32)}
REPLICAS = (1, 2, 4, 8)

JOB = """\
job: {{ name: bench, seed: 1 }}
model: {net}
data:
  train: {{ format: npy, inputs: [image={folder}/images.npy], labels: {folder}/labels.npy }}
  normalize: {{ mean: [{mean}], std: [{std}] }}
train:
  replicas: {replicas}
  batch_size: {batch}
  epochs: 1
  optimizer: {{ name: momentum, lr: 1e-4, momentum: 0.9 }}
  consistency: {{ mode: sync }}
cluster: {{ coordinator: 127.0.0.1:0, servers: 1, workers: {workers}, lease: 30s }}
device: {{ kind: cpu, threads: 1 }}
"""


class Bench:
    """The runs of one network; each returns a figure."""

    def __init__(self, context, net):
        self.context, self.net = context, net
        self.data = npy_data_set(context.data, net, *NETS[net][:2])
        self.memory = {}  # MiB at most, by kind of daemon, of the last cluster

    def job(self, folder, replicas, workers):
        channels = NETS[self.net][1][0]
        return write_job(folder, JOB.format(
            net=self.net, folder=self.data, replicas=replicas, workers=workers, batch=NETS[self.net][2],
            mean=", ".join(["128"] * channels), std=", ".join(["64"] * channels)))

    def alone(self, executors):
        """Images a second of that many executors side by side, as replicas of one job."""
        job = self.job(self.data, executors, executors)
        children = [subprocess.Popen([self.context.program("executor_alone"), "--config", job, "--replica", str(index)],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                    for index in range(executors)]
        try:
            for child in children:
                if child.stdout.readline() != "ready\n":
                    raise RuntimeError("executor_alone did not start")
            for child in children:
                child.stdin.write("go\n")
                child.stdin.flush()
            results = [json.loads(child.communicate(timeout=120)[0]) for child in children]
        finally:
            for child in children:
                child.kill()
                child.wait()
        return sum(result["images"] for result in results) / max(result["seconds"] for result in results)

    def cluster(self, workers, replicas=None):
        """Images a second of a cluster with one server, as its summary tells: training alone, waiting included."""
        with tempfile.TemporaryDirectory() as folder, \
                Cluster(folder, self.job(folder, replicas or workers, workers), servers=1, workers=workers) as cluster:
            cluster.start(1, workers)
            wait_until(lambda: self._all_ended(cluster), "the job's end", timeout=120)
            for process in cluster.processes():
                if process.child.returncode != 0:
                    raise RuntimeError(f"{process.name}: {process.out}\n{process.err}")
            return read_summary(cluster.run_folder)["images_per_second"]

    def _all_ended(self, cluster):
        for process in cluster.processes():
            if process.child.poll() is None:
                kind = process.name.split("-")[0]
                self.memory[kind] = _peak_memory(process.pid) or self.memory.get(kind)
        return all(process.child.poll() is not None for process in cluster.processes())

    def start_up(self):
        """Seconds from the start of `tessera run` until every daemon is there and training begins."""
        with tempfile.TemporaryDirectory() as folder:
            return self._start_up(folder, self.job(folder, 1, 1))

    def _start_up(self, folder, job):
        log = os.path.join(folder, "runs", "bench", "logs", "coordinator.log")
        start = time.monotonic()
        run = Process("tessera-run", [self.context.program("tessera"), "run", job], folder, folder)
        try:
            wait_until(lambda: _contains(log, "running: ") or run.child.poll() is not None, "the job's start")
            seconds = time.monotonic() - start
            if run.wait(120) != 0:
                raise RuntimeError(f"tessera run: {run.out}\n{run.err}")
            return seconds
        finally:
            run.end()


def _peak_memory(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            return next((int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:")), None)
    except OSError:
        return None  # it has ended


def _contains(path, text):
    if not os.path.exists(path):
        return False
    with open(path, encoding="utf-8") as file:
        return text in file.read()


def _exchange_rows(context, net):
    bench = Bench(context, net)
    context.note(f"system: {net}")
    values = in_turn({"alone": lambda: bench.alone(1), "cluster": lambda: bench.cluster(1),
                      "two alone": lambda: bench.alone(2), "two": lambda: bench.cluster(2)}, ROUNDS)
    unit = "images/s"
    return [
        Row.of(f"system/exchange/{net}", unit, values["cluster"], "the executor alone", values["alone"]),
        Row.of(f"system/two_workers/{net}", unit, values["two"], "two executors side by side", values["two alone"]),
        Row.of(f"system/scaling/{net}", unit, values["two"], "one worker", values["cluster"]),
        Row.of(f"system/ceiling/{net}", unit, values["two alone"], "one executor", values["alone"]),
    ]


def _other_rows(context):
    bench = Bench(context, "lenet5")
    context.note("system: replicas, start-up, memory")
    memory = {"coordinator": [], "server": [], "worker": []}

    def replicas(count):
        def measure():
            rate = bench.cluster(1, count)
            for kind, values in memory.items():
                values.append(bench.memory[kind])
            return rate
        return measure
    sides = {count: replicas(count) for count in REPLICAS}
    values = in_turn({**sides, "start": bench.start_up}, OTHER_ROUNDS)
    rows = [Row.of(f"system/replicas/{count}", "images/s", values[count], "one replica", values[1]) for count in REPLICAS]
    rows.append(Row.of("system/start_up", "s", values["start"]))
    rows += [Row.of(f"system/memory/{kind}", "MiB", values) for kind, values in memory.items()]
    return rows


def run(context):
    programs.set_folder(context.programs)
    rows = []
    for net in NETS:
        rows += _exchange_rows(context, net)
    return rows + _other_rows(context)
