"""Any daemon's death ends the run: one line that names it, exit code 1, nothing left."""

import re
import signal
import time

from harness.case import SystemTest
from harness.job import endless, write_job
from harness.process import lines_of, named_pid
from harness.results import read_summary

LEASE = 2.0
# From the death to the last exit: the bound of the design, and what a busy machine takes for so many exits.
BOUND = LEASE + 1.0
SLACK = 2.0

ONE_EPOCH = r"epoch 1/"


class DaemonDeaths(SystemTest):
    """Daemons that were started by hand."""

    def setUp(self):
        super().setUp()
        self.job = write_job(self.folder, endless(self.data, cluster={"lease": f"{LEASE:g}s"}))

    def training_cluster(self):
        """Two servers and two workers in the midst of training."""
        cluster = self.cluster(self.job, 2, 2).start(2, 2)
        cluster.wait_for_log(ONE_EPOCH)
        return cluster

    def strike(self, cluster, victim, number):
        """Sends the signal; all others must exit with 1 in time."""
        start = time.monotonic()
        victim.send(number)
        for process in cluster.processes():
            if process is not victim:
                self.assertEqual(process.wait(), 1, f"{process.name}\n{process.out}\n{process.err}")
        elapsed = time.monotonic() - start
        print(f"  {victim.name}, {signal.Signals(number).name}: all others gone after {elapsed:.2f} s "
              f"(lease + 1 s: {BOUND:g} s)", flush=True)
        self.assertLess(elapsed, BOUND + SLACK)

    def assert_named(self, cluster, victim):
        """The coordinator's last words, and the summary, are one line that names the victim."""
        lines = lines_of(cluster.coordinator.err)
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].startswith("tessera-coordinator: "), lines)
        self.assertEqual(named_pid(lines[0]), victim.pid, lines)
        self.assertIn(victim.name.split("-")[0], lines[0])
        summary = read_summary(cluster.run_folder)
        self.assertEqual(summary["status"], "failed")
        self.assertEqual(lines[0], "tessera-coordinator: " + summary["message"])
        told = [event for event in summary["events"] if event["what"] in ("death", "failure")]
        self.assertEqual([event["pid"] for event in told], [victim.pid], told)

    def test_killed_server(self):
        cluster = self.training_cluster()
        self.strike(cluster, cluster.servers[0], signal.SIGKILL)
        self.assert_named(cluster, cluster.servers[0])

    def test_killed_worker(self):
        cluster = self.training_cluster()
        self.strike(cluster, cluster.workers[1], signal.SIGKILL)
        self.assert_named(cluster, cluster.workers[1])

    def test_frozen_server(self):
        cluster = self.training_cluster()
        self.strike(cluster, cluster.servers[1], signal.SIGSTOP)
        self.assert_named(cluster, cluster.servers[1])

    def test_frozen_worker(self):
        cluster = self.training_cluster()
        self.strike(cluster, cluster.workers[0], signal.SIGSTOP)
        self.assert_named(cluster, cluster.workers[0])

    def test_node_that_wakes_up_after_its_lease_ends_too(self):
        cluster = self.training_cluster()
        self.strike(cluster, cluster.workers[0], signal.SIGSTOP)
        cluster.workers[0].send(signal.SIGCONT)
        self.assertEqual(cluster.workers[0].wait(), 1)

    def test_killed_coordinator(self):
        self.check_coordinator(signal.SIGKILL)

    def test_frozen_coordinator(self):
        self.check_coordinator(signal.SIGSTOP)

    def check_coordinator(self, number):
        cluster = self.training_cluster()
        self.strike(cluster, cluster.coordinator, number)
        for node in cluster.servers + cluster.workers:
            lines = lines_of(node.err)
            self.assertEqual(len(lines), 1, lines)
            self.assertRegex(lines[0], r"^tessera-(server|worker): .*coordinator at " +
                             re.escape(cluster.address()))

    def test_worker_that_dies_while_others_are_awaited(self):
        cluster = self.cluster(self.job, 1, 2).start(1, 1)
        cluster.wait_for_log(r"worker 0 .* joined")
        self.strike(cluster, cluster.workers[0], signal.SIGKILL)
        self.assert_named(cluster, cluster.workers[0])

    def test_terminated_worker_leaves_by_name(self):
        cluster = self.training_cluster()
        cluster.workers[0].send(signal.SIGTERM)
        self.assertEqual(cluster.workers[0].wait(), 128 + signal.SIGTERM)
        self.assertEqual(cluster.coordinator.wait(), 1)
        self.assert_named(cluster, cluster.workers[0])

    def test_terminated_coordinator_stops_the_job(self):
        cluster = self.training_cluster()
        cluster.coordinator.send(signal.SIGTERM)
        for node in cluster.servers + cluster.workers:
            self.assertEqual(node.wait(), 0, node.err)
        cluster.coordinator.wait()
        summary = read_summary(cluster.run_folder)
        self.assertEqual(summary["status"], "stopped")
        self.assertIn("SIGTERM", summary["message"])
