"""Clusters that grow and shrink while they train: the weights are those of any other, and nothing is done twice."""

import os
import signal

from harness.case import SystemTest
from harness.job import job, write_job
from harness.process import wait_until
from harness.results import read_summary
from harness.run import RunTest

REPLICAS, EPOCHS, STEPS_PER_EPOCH = 4, 16, 32
WORKER_CHANGES = 6  # three join, three leave
ASKED = 128 + signal.SIGTERM

# So that training lasts until all have come and gone: those that leave are slow, who stays to the end is not.
SLOW = ("--slowdown", "20")


def growth_job(data, backups=0):
    """A job of many small shards, so that there is something to move."""
    return job(data, train={"replicas": REPLICAS, "epochs": EPOCHS, "optimizer": {"lr": 0.005}},
               cluster={"servers": 1 + backups, "workers": 1, "server_backups": backups, "shard_bytes": "16KiB",
                        "lease": "60s"})  # a slow worker's first minibatch takes seconds, also when it is to leave


class Growth(SystemTest):

    def undisturbed(self):
        """The digest of a run by two servers and two workers from its beginning to its end."""
        path = write_job(self.folder, growth_job(self.data), "undisturbed.yaml")
        return self.train(path, 2, 2)[0]["weights_digest"]

    def add_server(self, cluster):
        """Starts one more, and waits until shards have moved onto it."""
        cluster.start(1, 0)
        cluster.wait_for_log(rf"\(pid {cluster.servers[-1].pid}\b.* joined; shards move onto it"
                             r"(.*\n)+.*another primary, in .* s, while training went on")

    def add_worker(self, cluster, flags):
        cluster.start(0, 1, flags)
        cluster.wait_for_log(rf"\(pid {cluster.workers[-1].pid}\b.* takes over replica")

    def ask_to_leave(self, cluster, node):
        node.send(signal.SIGTERM)
        self.assertEqual(node.wait(), ASKED, f"{node.name}\n{node.out}\n{node.err}")
        cluster.wait_for_log(rf"\(pid {node.pid}\b.* left")

    def check(self, backups):
        digest = self.undisturbed()
        first = 1 + backups
        cluster = self.cluster(write_job(self.folder, growth_job(self.data, backups)), first, 1)
        cluster.start(first, 0).start(0, 1, SLOW)
        cluster.wait_for_log("epoch 1/")
        while len(cluster.servers) < 3:
            self.add_server(cluster)
        for flags in (SLOW, SLOW, ()):
            self.add_worker(cluster, flags)
        # Those of the beginning go first: in the end everything is somewhere else.
        leavers = [cluster.servers[0], cluster.workers[0], cluster.workers[1], cluster.servers[1], cluster.workers[2]]
        for node in leavers:
            self.ask_to_leave(cluster, node)
        print(f"  all have come and gone after {cluster.coordinator.out.count('epoch ')} of {EPOCHS} epochs", flush=True)
        for node in (cluster.coordinator, cluster.servers[2], cluster.workers[3]):
            self.assertEqual(node.wait(120), 0, f"{node.name}\n{node.out}\n{node.err}")
        summary = read_summary(cluster.run_folder)
        self.assertEqual(summary["weights_digest"], digest)
        self.assertEqual(summary["rewinds"], 0)
        steps = EPOCHS * STEPS_PER_EPOCH
        self.assertEqual(summary["applied_minibatches"], {"min": steps, "max": steps})
        left = [event["pid"] for event in summary["events"] if event["what"] == "leave"]
        self.assertEqual(sorted(left), sorted(node.pid for node in leavers), summary["events"])
        self.assertEqual([event for event in summary["events"] if event["what"] in ("death", "failure")], [])
        self.assertLessEqual(summary["recomputed_steps"], REPLICAS * WORKER_CHANGES)
        print(f"  recomputed {summary['recomputed_steps']}, {summary['wall_seconds']:.1f} s; "
              + "; ".join(event["message"] for event in summary["events"] if event["what"] == "moved"), flush=True)

    def test_one_and_one_grow_to_three_and_four_and_shrink_back(self):
        self.check(backups=0)

    def test_shards_with_a_backup_too(self):
        self.check(backups=1)


class GrowthOfRuns(RunTest):

    def test_nodes_of_a_run_that_are_asked_to_leave_are_not_started_again(self):
        run = self.endless_run()
        leavers = [run.child("tessera-server"), run.child("tessera-worker")]
        for child in leavers:
            os.kill(child.pid, signal.SIGTERM)
            run.wait_for_output(rf"\(pid {child.pid}\) left, as it was asked to")
        epochs = run.epochs()
        wait_until(lambda: run.epochs() >= epochs + 2, lambda: f"training: {run.process.out}\n{run.process.err}")
        self.assertNotIn("was started again", run.process.out)
        run.process.send(signal.SIGTERM)
        self.assertEqual(run.process.wait(), ASKED, run.process.err)
        summary = read_summary(run.run_folder())
        told = {what: [event["pid"] for event in summary["events"] if event["what"] == what]
                for what in ("leave", "death", "rewind")}
        self.assertEqual(told, {"leave": [child.pid for child in leavers], "death": [], "rewind": []})
