"""A cluster that is not complete says for whom it waits, and uses next to nothing meanwhile."""

import time

from harness.case import SystemTest
from harness.job import job, write_job

IDLE_SHARE = 0.02
MEASURED_SECONDS = 5


class Waiting(SystemTest):

    def test_missing_worker_is_named_and_awaited(self):
        cluster = self.cluster(write_job(self.folder, job(self.data)), 1, 2).start(1, 1)
        cluster.wait_for_log(r"waiting for 1 of 2 workers, \d+ s")
        cluster.start(0, 1)
        self.assert_all_exit(cluster, 0)

    def test_missing_servers_and_workers_are_named_together(self):
        cluster = self.cluster(write_job(self.folder, job(self.data)), 3, 2).start(1, 0)
        cluster.wait_for_log(r"waiting for 2 of 3 servers and 2 of 2 workers, \d+ s")

    def test_idle_cluster_uses_under_two_percent_of_a_core(self):
        cluster = self.cluster(write_job(self.folder, job(self.data)), 2, 2).start(2, 1)
        cluster.wait_for_log(r"waiting for 1 of 2 workers")
        before = [process.cpu_seconds() for process in cluster.processes()]
        start = time.monotonic()
        time.sleep(MEASURED_SECONDS)
        elapsed = time.monotonic() - start
        shares = {process.name: (process.cpu_seconds() - used) / elapsed
                  for process, used in zip(cluster.processes(), before)}
        print("  idle: " + ", ".join(f"{name} {share:.2%}" for name, share in shares.items()) +
              f", together {sum(shares.values()):.2%} of a core", flush=True)
        self.assertLess(sum(shares.values()), IDLE_SHARE, shares)

    def test_server_too_many_harms_nothing(self):
        cluster = self.cluster(write_job(self.folder, job(self.data)), 1, 2).start(1, 1)
        cluster.wait_for_log(r"worker 0 .* joined")
        cluster.start(1, 0)
        cluster.wait_for_log(r"server 1 .* joined")
        cluster.start(0, 1)
        self.assert_all_exit(cluster, 0)

    def test_nodes_may_be_started_before_their_coordinator(self):
        cluster = self.cluster(write_job(self.folder, job(self.data)), 1, 1)
        address = cluster.address()
        cluster.coordinator.end()
        cluster.start(1, 1)
        again = self.cluster(write_job(self.folder, job(self.data)), 1, 1, bind=address)
        again.wait_for_log("done in")
        for node in cluster.servers + cluster.workers:
            self.assertEqual(node.wait(), 0, node.err)
