"""Weights that a job starts from."""

import os
import shutil
import struct

from harness.job import job, write_job
from harness.process import lines_of
from harness.run import RunTest


class WeightsFile(RunTest):

    def setUp(self):
        super().setUp()
        _, run_folder = self.train(write_job(self.folder, job(self.data)), 1, 1)
        self.weights = os.path.join(self.folder, "weights.safetensors")
        shutil.move(os.path.join(run_folder, "model.safetensors"), self.weights)

    def tuning_job(self, replace):
        content = job(self.data, model={"name": "lenet5", "weights": self.weights, "replace": replace})
        return write_job(self.folder, content, "tuning.yaml")

    def flip_first_bit(self):
        """Of the first tensor, under the same header."""
        with open(self.weights, "r+b") as file:
            start = 8 + struct.unpack("<Q", file.read(8))[0]
            file.seek(start)
            first = file.read(1)[0]
            file.seek(start)
            file.write(bytes([first ^ 1]))

    def test_run_tells_what_it_takes_and_trains_from_there(self):
        fresh, _ = self.train(write_job(self.folder, job(self.data)), 1, 1)
        tuned, _ = self.train(self.tuning_job(["fc2"]), 2, 1)
        other, _ = self.train(self.tuning_job(["fc2"]), 1, 2)
        self.assertNotEqual(tuned["weights_digest"], fresh["weights_digest"])
        self.assertEqual(tuned["weights_digest"], other["weights_digest"])
        code, out, err = self.tessera("run", self.tuning_job(["fc2"]))
        self.assertEqual((code, err), (0, ""), out)
        self.assertIn("weights.safetensors: 6 of 8 tensors; starts afresh: fc2.weight [10,500], fc2.bias [10]", out)

    def test_a_layer_that_is_not_there_is_refused_with_the_nearest(self):
        for command in (["config", "check"], ["run"]):
            code, out, err = self.tessera(*command, self.tuning_job(["fc3"]))
            self.assertEqual((code, out), (2, ""))
            self.assertEqual(len(lines_of(err)), 1, err)
            self.assertRegex(err, r"tuning\.yaml:\d+:\d+: model\.replace: .*`fc3`; did you mean `fc\d`\?")

    def test_a_server_with_another_file_ends_the_job_by_name(self):
        cluster = self.cluster(self.tuning_job(["fc2"]), 1, 1)
        cluster.address()  # the coordinator has read the file
        self.flip_first_bit()
        cluster.start(1, 1)
        self.assert_all_exit(cluster, 1)
        self.assertRegex(cluster.coordinator.err,
                         r"server 0 \(.*\): model\.weights: .*/weights\.safetensors here is not the file that the "
                         r"coordinator has: \w+ \[\d+,\d+\) differs")
