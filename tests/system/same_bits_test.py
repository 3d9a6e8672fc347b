"""The same job gives the same weights to the last bit on every cluster."""

import itertools
import os
import subprocess

from harness import programs
from harness.case import SystemTest
from harness.job import job, write_job
from harness.results import digest_of_file, tensor_shapes

WORKERS = (1, 2, 3, 4)
SERVERS = (1, 2, 3)
STEPS = 32


class SameBits(SystemTest):

    def assert_same_bits_everywhere(self, path):
        """Trains the job of `path` on every cluster. Returns the digest and the last run's folder."""
        digests = {}
        for workers, servers in itertools.product(WORKERS, SERVERS):
            summary, run_folder = self.train(path, servers, workers)
            self.check_counts(summary, servers, workers)
            digests[workers, servers] = summary["weights_digest"]
        self.assertEqual(len(set(digests.values())), 1, digests)
        return digests[1, 1], run_folder

    def check_counts(self, summary, servers, workers):
        self.assertEqual(summary["status"], "done")
        self.assertEqual(summary["steps"], STEPS)
        self.assertEqual(summary["updates_per_shard"], STEPS)
        self.assertEqual(summary["staleness"]["max"], 0)
        self.assertEqual((summary["servers"], summary["workers"]), (servers, workers))

    def test_lenet5(self):
        digest, run_folder = self.assert_same_bits_everywhere(write_job(self.folder, job(self.data)))
        model = os.path.join(run_folder, "model.safetensors")
        self.assertEqual(digest_of_file(model), digest)
        shapes = tensor_shapes(model)
        self.assertEqual(shapes["conv1.weight"], [20, 1, 5, 5])
        self.assertEqual(shapes["fc1.weight"], [500, 800])

    def test_resnet20_with_its_batch_norm_statistics(self):
        path = write_job(self.folder, job(self.data, model="resnet20"))
        digest, run_folder = self.assert_same_bits_everywhere(path)
        model = os.path.join(run_folder, "model.safetensors")
        self.assertEqual(digest_of_file(model), digest)
        statistics = [name for name in tensor_shapes(model) if name.endswith(("running_mean", "running_var"))]
        self.assertEqual(len(statistics), 2 * 19)

    def test_the_cluster_in_one_process_gives_the_daemons_weights(self):
        path = write_job(self.folder, job(self.data))
        digests = {self.train(path, 2, 2)[0]["weights_digest"]}
        for servers, workers, shuffle_seed in ((1, 1, 0), (3, 2, 5)):
            digests.add(self.digest_in_one_process(path, servers, workers, shuffle_seed))
        self.assertEqual(len(digests), 1, digests)

    def digest_in_one_process(self, path, servers, workers, shuffle_seed):
        program = programs.path(os.path.join("..", "tests", "in_process_run"))
        arguments = [program, path, str(servers), str(workers), str(shuffle_seed)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_another_seed_gives_other_weights(self):
        path = write_job(self.folder, job(self.data))
        digests = {self.train(path, 2, 2, [f"job.seed={seed}"])[0]["weights_digest"] for seed in (1, 2)}
        self.assertEqual(len(digests), 2)
