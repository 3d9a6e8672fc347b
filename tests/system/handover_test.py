"""Workers that come and go in order: nothing is computed twice, and the weights are those of an undisturbed run."""

import signal

from harness.case import SystemTest
from harness.job import endless, job, write_job
from harness.process import wait_until
from harness.results import read_summary

EPOCHS = 40         # long enough that a worker that is started in the first can still join
STEPS = 32 * EPOCHS

ONE_EPOCH = r"epoch 1/"
AGREED = r"from step \d+ on replicas run where the newest map says"


class Handover(SystemTest):

    def job(self, **train):
        return write_job(self.folder, job(self.data, train={"epochs": EPOCHS, **train}))

    def training_cluster(self, path, servers, workers):
        cluster = self.cluster(path, servers, workers).start(servers, workers)
        cluster.wait_for_log(ONE_EPOCH)
        return cluster

    def terminate(self, cluster, worker):
        worker.send(signal.SIGTERM)
        self.assertEqual(worker.wait(), 128 + signal.SIGTERM, worker.out)
        cluster.wait_for_log(rf"\(pid {worker.pid}\b.* left")
        self.assertIsNone(cluster.coordinator.child.poll(), "the job goes on")

    def finish(self, cluster, *gone):
        """All but those that have gone end in order. Returns the summary."""
        for process in cluster.processes():
            if process not in gone:
                self.assertEqual(process.wait(120), 0, f"{process.name}\n{process.out}\n{process.err}")
        return read_summary(cluster.run_folder)

    def check(self, summary, digest):
        self.assertEqual(summary["status"], "done")
        self.assertEqual(summary["recomputed_steps"], 0, summary["events"])
        self.assertEqual(summary["applied_minibatches"], {"min": STEPS, "max": STEPS})
        if digest is not None:
            self.assertEqual(summary["weights_digest"], digest)

    def test_workers_join_and_leave_without_a_step_computed_twice(self):
        path = self.job()
        digest = self.train(path, 1, 2)[0]["weights_digest"]
        cluster = self.training_cluster(path, 2, 1)
        cluster.start(0, 2)
        cluster.wait_for_log(AGREED)
        cluster.wait_for_log(r"worker 2 .* takes over")
        first = cluster.workers[0]
        self.terminate(cluster, first)
        summary = self.finish(cluster, first)
        self.check(summary, digest)
        told = [event["what"] for event in summary["events"]]
        self.assertGreaterEqual(told.count("handover"), 2)
        self.assertNotIn("parked", told)
        self.assertNotIn("resumed", told, "training never stood still")

    def test_death_in_the_midst_of_a_handover_is_got_over(self):
        """The newcomer waits for a step that is never agreed on again, and has the same replica then."""
        path = write_job(self.folder, job(self.data, train={"replicas": 3, "epochs": EPOCHS}, cluster={"lease": "4s"}))
        digest = self.train(path, 1, 2)[0]["weights_digest"]
        cluster = self.training_cluster(path, 1, 2)
        dead = cluster.wait_for_log(r"worker 1 \(pid (\d+), .* joined").group(1)
        frozen = next(worker for worker in cluster.workers if worker.pid == int(dead))
        frozen.send(signal.SIGSTOP)
        cluster.start(0, 1)
        cluster.wait_for_log(AGREED)
        cluster.wait_for_log(rf"worker 1 \(pid {dead}, .* died")
        cluster.wait_for_log("training goes on at step")
        frozen.end()
        summary = self.finish(cluster, frozen)
        self.assertEqual(summary["weights_digest"], digest)
        self.assertLessEqual(summary["recomputed_steps"], 1)

    def test_in_other_modes_a_worker_leaves_at_once_and_every_minibatch_counts_once(self):
        cluster = self.training_cluster(self.job(consistency={"mode": "async"}, optimizer={"lr": 0.002}), 1, 3)
        leaver = cluster.workers[1]
        self.terminate(cluster, leaver)
        summary = self.finish(cluster, leaver)
        self.assertEqual(summary["applied_minibatches"], {"min": STEPS, "max": STEPS})
        self.assertNotIn("handover", [event["what"] for event in summary["events"]])

    def test_last_worker_leaves_at_once_and_training_is_parked(self):
        cluster = self.training_cluster(write_job(self.folder, endless(self.data)), 1, 1)
        cluster.workers[0].send(signal.SIGTERM)
        self.assertEqual(cluster.workers[0].wait(10), 128 + signal.SIGTERM)
        cluster.wait_for_log("training is parked, waiting for a worker")
        cluster.start(0, 1)
        cluster.wait_for_log("training goes on at step")

    def test_second_signal_ends_a_worker_that_waits_to_leave(self):
        cluster = self.training_cluster(write_job(self.folder, endless(self.data)), 1, 2)
        leaver, other = cluster.workers
        other.send(signal.SIGSTOP)  # so that the steps before the handover do not end
        leaver.send(signal.SIGTERM)
        cluster.wait_for_log(rf"\(pid {leaver.pid}\b.* is to leave")
        self.assertIsNone(leaver.child.poll())
        leaver.send(signal.SIGTERM)
        self.assertEqual(leaver.wait(10), 128 + signal.SIGTERM)
        wait_until(lambda: f"(pid {leaver.pid}" in cluster.coordinator.out and " left" in cluster.coordinator.out,
                   "that it left")
