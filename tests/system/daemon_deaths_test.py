"""Daemons that were started by hand: whatever dies, is frozen or leaves, the cluster goes on, and says what it did."""

import os
import re
import resource
import shutil
import signal
import time

from harness.case import SystemTest
from harness.chaos import INTERVAL, LEASE
from harness.job import job, endless, write_job
from harness.process import finish, free_port, wait_until
from harness.results import read_summary
from harness import programs

# From a death to the first progress after it: the bound of the design, and what a busy machine takes.
BOUND = float(LEASE[:-1]) + 1.0
SLACK = 3.0

ONE_EPOCH = r"epoch 1/"


class DaemonDeaths(SystemTest):

    def setUp(self):
        super().setUp()
        self.job = write_job(self.folder, endless(self.data, cluster={"lease": LEASE},
                                                  checkpoint={"every": f"{INTERVAL} steps"}))

    def training_cluster(self):
        """Two servers and two workers in the midst of training."""
        cluster = self.cluster(self.job, 2, 2).start(2, 2)
        cluster.wait_for_log(ONE_EPOCH)
        return cluster

    def strike(self, cluster, victim, number):
        """Sends the signal; training must go on without the victim."""
        start = time.monotonic()
        victim.send(number)
        cluster.wait_for_log("training goes on at step")
        elapsed = time.monotonic() - start
        print(f"  {victim.name}, {signal.Signals(number).name}: training went on after {elapsed:.2f} s "
              f"(lease + 1 s: {BOUND:g} s)", flush=True)
        self.assertLess(elapsed, BOUND + SLACK)

    def stop(self, cluster, *dead):
        """Ends the job; all but the dead leave in order. Returns the summary."""
        cluster.coordinator.send(signal.SIGTERM)
        for node in cluster.servers + cluster.workers:
            if node not in dead:
                self.assertEqual(node.wait(), 0, f"{node.name}\n{node.out}\n{node.err}")
        cluster.coordinator.wait()
        return read_summary(cluster.run_folder)

    def assert_told(self, summary, what, victim):
        pids = [event["pid"] for event in summary["events"] if event["what"] == what]
        self.assertEqual(pids, [victim.pid], summary["events"])

    def test_killed_worker_is_replaced_by_the_other(self):
        cluster = self.training_cluster()
        self.strike(cluster, cluster.workers[1], signal.SIGKILL)
        summary = self.stop(cluster, cluster.workers[1])
        self.assert_told(summary, "death", cluster.workers[1])
        self.assertEqual(summary["rewinds"], 0)

    def test_killed_server_sends_all_back_to_the_checkpoint(self):
        cluster = self.training_cluster()
        self.strike(cluster, cluster.servers[0], signal.SIGKILL)
        summary = self.stop(cluster, cluster.servers[0])
        self.assert_told(summary, "death", cluster.servers[0])
        self.assertEqual(summary["rewinds"], 1)

    def check_frozen(self, nodes, index):
        cluster = self.training_cluster()
        victim = getattr(cluster, nodes)[index]
        self.strike(cluster, victim, signal.SIGSTOP)
        victim.send(signal.SIGCONT)
        cluster.wait_for_log(rf"\(pid {victim.pid}\b.* joined(.*\n)+.*\(pid {victim.pid}\b.* joined")
        summary = self.stop(cluster)
        self.assert_told(summary, "death", victim)

    def test_frozen_server_wakes_after_its_lease_and_joins_again(self):
        self.check_frozen("servers", 1)

    def test_frozen_worker_wakes_after_its_lease_and_joins_again(self):
        self.check_frozen("workers", 0)

    def test_killed_coordinator_goes_on_with_its_journal(self):
        path = write_job(self.folder, job(self.data, train={"epochs": 8}, cluster={"lease": LEASE},
                                          checkpoint={"every": f"{INTERVAL} steps"}), "short.yaml")
        digest = self.train(path, 1, 1)[0]["weights_digest"]
        cluster = self.cluster(path, 2, 2).start(2, 2)
        cluster.wait_for_log(ONE_EPOCH)
        cluster.coordinator.end()
        cluster.restart_coordinator()
        self.assert_all_exit(cluster, 0)
        summary = read_summary(cluster.run_folder)
        self.assertEqual(summary["weights_digest"], digest)
        self.assertEqual(summary["recomputed_steps"], 0)

    def test_coordinator_goes_on_elsewhere_from_a_copy_of_its_folder(self):
        path = write_job(self.folder, job(self.data, train={"epochs": 8}, cluster={"lease": LEASE, "server_backups": 1},
                                          checkpoint={"every": f"{INTERVAL} steps"}), "short.yaml")
        digest = self.train(path, 2, 1)[0]["weights_digest"]
        cluster = self.cluster(path, 2, 2)
        elsewhere = f"127.0.0.1:{free_port()}"
        cluster.start(2, 2, coordinators=f"{cluster.address()},{elsewhere}")
        cluster.wait_for_log(ONE_EPOCH)
        cluster.coordinator.end()
        copy = shutil.copytree(cluster.run_folder, cluster.run_folder + "-copy")
        shutil.rmtree(cluster.run_folder)
        cluster.move_coordinator(elsewhere, copy)
        self.assert_all_exit(cluster, 0)
        summary = read_summary(copy)
        self.assertEqual(summary["weights_digest"], digest)
        self.assertEqual(summary["recomputed_steps"], 0)
        self.assertTrue(os.path.exists(os.path.join(copy, "model.safetensors")))

    def test_checkpoint_that_cannot_be_written_is_told_and_the_one_before_stands(self):
        cluster = self.training_cluster()
        cluster.wait_for_log(r"checkpoint at step \d+")
        for server in cluster.servers:
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (64 << 10, resource.RLIM_INFINITY))
        cluster.wait_for_log(r"the checkpoint at step \d+ failed: server \d: .*\.safetensors")
        code, out, err = finish([programs.path("tessera"), "checkpoint", "verify", cluster.run_folder], self.folder)
        self.assertEqual(code, 0, out + err)
        for server in cluster.servers:
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        failed = len(cluster.coordinator.out)
        wait_until(lambda: re.search(r"checkpoint at step \d+ in", cluster.coordinator.out[failed:]), "a later checkpoint")
        self.assertEqual(self.stop(cluster)["rewinds"], 0)

    def test_last_worker_parks_training_until_another_comes(self):
        cluster = self.cluster(self.job, 1, 1).start(1, 1)
        cluster.wait_for_log(ONE_EPOCH)
        cluster.workers[0].end()
        cluster.wait_for_log("training is parked, .*worker")
        dead = cluster.workers[0]
        cluster.start(0, 1)
        cluster.wait_for_log("training goes on at step")
        self.stop(cluster, dead)

    def test_worker_that_dies_while_others_are_awaited_is_awaited_again(self):
        cluster = self.cluster(self.job, 1, 2).start(1, 1)
        cluster.wait_for_log(r"worker 0 .* joined")
        dead = cluster.workers[0]
        dead.end()
        cluster.wait_for_log(r"waiting for 2 of 2 workers")
        cluster.start(0, 2)
        cluster.wait_for_log(ONE_EPOCH)
        self.stop(cluster, dead)

    def test_terminated_worker_leaves_by_name_and_training_goes_on(self):
        cluster = self.training_cluster()
        cluster.workers[0].send(signal.SIGTERM)
        self.assertEqual(cluster.workers[0].wait(), 128 + signal.SIGTERM)
        epochs = cluster.coordinator.out.count("epoch ")
        wait_until(lambda: cluster.coordinator.out.count("epoch ") > epochs + 1, "the epoch after the next")
        summary = self.stop(cluster, cluster.workers[0])
        self.assert_told(summary, "drain", cluster.workers[0])
        self.assert_told(summary, "leave", cluster.workers[0])
        self.assertEqual(summary["recomputed_steps"], 0)

    def test_terminated_coordinator_stops_the_job(self):
        cluster = self.training_cluster()
        summary = self.stop(cluster)
        self.assertEqual(summary["status"], "stopped")
        self.assertIn("SIGTERM", summary["message"])
