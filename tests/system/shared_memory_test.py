"""Tensors through shared memory between daemons of one machine: used by itself, off by its key, and never left over."""

import glob
import os
import signal

from harness.case import SystemTest
from harness.job import endless, job, write_job
from harness.process import wait_until

SEGMENT = "/memfd:tessera-outbox"


def own_segments(pid):
    """The inodes of the segments that a process has open: its own, since peers only map them."""
    inodes = set()
    for path in glob.glob(f"/proc/{pid}/fd/*"):
        try:
            if os.readlink(path).startswith(SEGMENT):
                inodes.add(os.stat(path).st_ino)
        except OSError:  # closed, or ended, meanwhile
            continue
    return inodes


def segments_of(pid):
    """The inodes of the segments that a process has open or mapped."""
    inodes = own_segments(pid)
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
            inodes |= {int(line.split()[4]) for line in maps if SEGMENT in line}
    except OSError:
        pass
    return inodes


def segments_of_anybody():
    return set().union(*(segments_of(pid) for pid in os.listdir("/proc") if pid.isdigit()))


class SharedMemory(SystemTest):

    def test_all_training_traffic_uses_it_and_the_bits_are_the_same_without(self):
        path = write_job(self.folder, job(self.data))
        shared, _ = self.train(path, 2, 2)
        over_tcp, _ = self.train(path, 2, 2, ["cluster.shared_memory=false"])
        self.assertEqual(shared["weights_digest"], over_tcp["weights_digest"])
        self.assertEqual(shared["shared_memory_bytes"], shared["pushed_bytes"] + shared["pulled_bytes"])
        self.assertEqual(over_tcp["shared_memory_bytes"], 0)
        # Where an answer is late, it is asked for again: on a busy machine a few of them come twice.
        for key in ("pushed_bytes", "pulled_bytes"):
            self.assertLess(abs(shared[key] - over_tcp[key]), 0.05 * shared[key], key)

    def test_other_modes_use_it_too(self):
        for mode in ("async", "ssp"):
            path = write_job(self.folder, job(self.data, train={"consistency": {"mode": mode}}))
            summary, _ = self.train(path, 1, 2)
            self.assertGreater(summary["shared_memory_bytes"], summary["pushed_bytes"])

    def test_daemons_say_which_way_tensors_go(self):
        cluster = self.cluster(write_job(self.folder, job(self.data)), 1, 1).start(1, 1)
        self.assert_all_exit(cluster, 0)
        server, worker = cluster.servers[0], cluster.workers[0]
        self.assertIn(f"tensors from and to process {worker.pid} go through shared memory", server.out)
        self.assertIn(f"tensors from and to process {server.pid} go through shared memory", worker.out)

    def test_nothing_is_left_after_a_run(self):
        cluster = self.cluster(write_job(self.folder, job(self.data, train={"epochs": 20})), 2, 2).start(2, 2)
        segments = self.segments_in_use(cluster)
        self.assert_all_exit(cluster, 0)
        self.assert_gone(segments)

    def test_nothing_is_left_when_a_worker_is_killed(self):
        path = write_job(self.folder, endless(self.data, cluster={"lease": "1s"}))
        cluster = self.cluster(path, 2, 2).start(2, 2)
        segments = self.segments_in_use(cluster)
        of_the_dead = own_segments(cluster.workers[1].pid)
        self.assertEqual(len(of_the_dead), 1)
        cluster.workers[1].send(signal.SIGKILL)
        cluster.wait_for_log(r"training goes on")
        wait_until(lambda: not of_the_dead & segments_of_anybody(), "the end of the dead worker's segment")
        cluster.coordinator.send(signal.SIGTERM)
        for process in (cluster.coordinator, *cluster.servers, cluster.workers[0]):
            self.assertEqual(process.wait(), 0, process.err)
        self.assert_gone(segments)

    def test_switched_off_no_segment_is_made(self):
        path = write_job(self.folder, endless(self.data, cluster={"shared_memory": False}))
        cluster = self.cluster(path, 1, 1).start(1, 1)
        cluster.wait_for_log(r"epoch 1/")
        for process in (*cluster.servers, *cluster.workers):
            self.assertEqual(segments_of(process.pid), set(), process.name)

    def segments_in_use(self, cluster):
        """Waits for training; the segments by then: each node's own, seen by its peers too."""
        cluster.wait_for_log(r"epoch 1/")
        nodes = (*cluster.servers, *cluster.workers)
        used = {node.name: segments_of(node.pid) for node in nodes}
        everything = set().union(*used.values())
        self.assertEqual(len(everything), len(nodes), used)
        for name, inodes in used.items():
            self.assertEqual(len(inodes), 3, f"{name}: its own and those of two peers: {used}")
        return everything

    def assert_gone(self, segments):
        wait_until(lambda: not segments & segments_of_anybody(), "the end of every segment")
        self.assertEqual(glob.glob("/dev/shm/*tessera*"), [])
