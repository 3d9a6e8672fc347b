#!/usr/bin/env python3
"""Resident memory of a server process that holds all of vgg16 (138 M parameters) with momentum, in sync with two workers,
over that of a server without shards; beside 64 MiB + 1.3 x (weights + optimizer state + one spare version + one gradient
for each worker).

    python3 -B bench/daemon_memory.py [--programs build/bin]
"""
import argparse
import os
import struct
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "system"))
from harness import programs  # noqa: E402
from harness.cluster import Cluster  # noqa: E402
from harness.job import write_job  # noqa: E402
from harness.process import wait_until  # noqa: E402

WORKERS = 2
STEPS = 4
CLASSES = 1000  # with fewer, vgg16 has fewer than its 138 M parameters
PARAMETERS = 138357544
MIB = 1 << 20

JOB = """\
job: {{ name: memory, seed: 1 }}
model: vgg16
data:
  train: {{ format: npy, inputs: [image={folder}/images.npy], labels: {folder}/labels.npy }}
  normalize: {{ mean: [128, 128, 128], std: [64, 64, 64] }}
train:
  replicas: {workers}
  batch_size: 1
  epochs: 1
  optimizer: {{ name: momentum, lr: 1e-6, momentum: 0.9 }}
  consistency: {{ mode: sync }}
cluster: {{ coordinator: 127.0.0.1:0, servers: 1, workers: {workers}, lease: 60s }}
device: cpu
"""


def write_npy(path, kind, shape, content):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content)


def write_data(folder, samples):
    write_npy(os.path.join(folder, "images.npy"), "|u1", (samples, 3, 32, 32),
              bytes(i * 31 % 251 for i in range(samples * 3 * 32 * 32)))
    labels = [CLASSES - 1 - i for i in range(samples)]
    write_npy(os.path.join(folder, "labels.npy"), "<i8", (samples,), struct.pack(f"<{samples}q", *labels))


def memory(pid, field):
    """In MiB; VmRSS now or VmHWM at most so far."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field + ":"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", default="build/bin", help="folder of the programs")
    programs.set_folder(parser.parse_args().programs)
    with tempfile.TemporaryDirectory() as folder:
        write_data(folder, WORKERS * STEPS)
        job = write_job(folder, JOB.format(folder=folder, workers=WORKERS))
        with Cluster(folder, job, servers=1, workers=WORKERS) as cluster:
            cluster.start(1, 0)
            cluster.wait_for_log(r"server 0 .* joined")
            server = cluster.servers[0].pid
            empty = memory(server, "VmRSS")
            cluster.start(0, WORKERS)
            peak, deadline = empty, time.monotonic() + 600
            while cluster.coordinator.child.poll() is None and time.monotonic() < deadline:
                try:
                    peak = max(peak, memory(server, "VmHWM"))
                except (FileNotFoundError, StopIteration):
                    break  # it has ended, and its last figure is known
                time.sleep(0.05)
            wait_until(lambda: cluster.coordinator.child.poll() is not None, "the coordinator's end")
            if cluster.coordinator.child.returncode != 0:
                sys.exit(cluster.coordinator.out + cluster.coordinator.err)
    tensor = PARAMETERS * 4 / MIB
    limit = 64 + 1.3 * (3 + WORKERS) * tensor
    print(f"vgg16, sync, momentum, 1 server, {WORKERS} workers, {STEPS} steps")
    print(f"empty server {empty:.0f} MiB; peak {peak:.0f} MiB; over the empty server {peak - empty:.0f} MiB")
    print(f"limit {limit:.0f} MiB: {'within' if peak - empty <= limit else 'EXCEEDED'}")


if __name__ == "__main__":
    main()
