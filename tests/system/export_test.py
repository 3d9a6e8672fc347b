"""Weights that leave a checkpoint: under PyTorch's names, for PyTorch."""

import json
import os
import re
import subprocess

from harness.job import job, write_job
from harness.run import RunTest

PYTHONS = ("/usr/bin/python3", "python3")  # the distribution's torch is for its own Python
READER = os.path.join(os.path.dirname(__file__), "harness", "pytorch_eval.py")


def python_with_torch():
    """None where there is none."""
    for python in PYTHONS:
        if subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 0:
            return python
    return None


class Export(RunTest):

    def setUp(self):
        super().setUp()
        # 32 steps an epoch; the last checkpoint but one is of other weights than the run's.
        content = job(self.data, train={"epochs": 2}, checkpoint={"every": "20 steps", "keep": 9})
        self.summary, self.run_folder = self.train(write_job(self.folder, content), 2, 2)
        self.checkpoints = sorted(os.listdir(os.path.join(self.run_folder, "checkpoints")))

    def export(self, name):
        source = os.path.join(self.run_folder, "checkpoints", name)
        target = os.path.join(self.folder, name + ".safetensors")
        code, _, err = self.tessera("export", source, target)
        self.assertEqual((code, err), (0, ""))
        return target

    def evaluate(self, weights):
        code, out, err = self.tessera("eval", os.path.join(self.folder, "job.yaml"), weights)
        self.assertEqual((code, err), (0, ""))
        return out

    def test_each_checkpoint_has_weights_of_its_own_and_they_can_be_evaluated(self):
        steps = [name for name in self.checkpoints if name.startswith("step-")]
        self.assertEqual(steps, [f"step-{step:012}" for step in (20, 40, 60)])
        digests = set()
        for name in steps:
            with open(self.export(name), "rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            digests.add(header["__metadata__"]["weights_digest"])
            self.assertIn("test accuracy", self.evaluate(os.path.join(self.folder, name + ".safetensors")))
        self.assertEqual(len(digests), 3)
        self.assertNotIn(self.summary["weights_digest"], digests, "two epochs end at step 64")

    def test_pytorch_gets_the_same_outputs(self):
        python = python_with_torch()
        if python is None:
            self.skipTest("no torch for /usr/bin/python3 or python3")
        weights = self.export("step-000000000020")
        done = subprocess.run([python, "-B", READER, weights, self.data], capture_output=True, text=True, timeout=120,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        theirs, ours = json.loads(done.stdout), self.evaluate(weights)
        print(f"  PyTorch: {theirs}; tessera eval: {' '.join(ours.split())}", flush=True)
        for key in ("accuracy", "loss"):
            own = float(re.search(rf"test {key} +(\S+)", ours).group(1))
            self.assertAlmostEqual(own, theirs[key], delta=1e-5, msg=key)
