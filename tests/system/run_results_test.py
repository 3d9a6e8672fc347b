"""What `tessera run` leaves and says."""

import os
import re
import socket

from harness.job import job, write_job
from harness.process import lines_of, named_pid
from harness.results import digest_of_file, read_summary
from harness.run import RunTest


class RunResults(RunTest):

    def test_run_leaves_model_summary_and_the_next_command(self):
        path = write_job(self.folder, job(self.data, train={"epochs": 3}))
        code, out, err = self.tessera("run", path, "--summary", "copy.json", timeout=120)
        self.assertEqual((code, err), (0, ""), out)
        run_folder = os.path.join(self.folder, "runs", "small")
        summary = read_summary(run_folder)
        with open(os.path.join(self.folder, "copy.json"), "rb") as copy, \
                open(os.path.join(run_folder, "summary.json"), "rb") as original:
            self.assertEqual(copy.read(), original.read())
        model = os.path.join(run_folder, "model.safetensors")
        self.assertEqual(summary["weights_digest"], digest_of_file(model))
        self.assertEqual((summary["epochs"], summary["steps"], summary["updates_per_shard"]), (3, 96, 96))
        self.assertGreater(summary["test_accuracy"], 0.5)
        last = lines_of(out)[-2:]
        self.assertIn("runs/small/model.safetensors", last[0])
        self.assertRegex(last[1], r"^next: \S*tessera eval .*job\.yaml runs/small/model\.safetensors$")
        self.check_next_command(re.sub(r"^next: \S+ ", "", last[1]), summary)

    def check_next_command(self, command, summary):
        code, out, err = self.tessera(*command.split())
        self.assertEqual((code, err), (0, ""))
        figures = dict(re.findall(r"^(test accuracy|test loss) +(\S+)", out, re.MULTILINE))
        self.assertEqual(float(figures["test accuracy"]), summary["test_accuracy"])
        self.assertEqual(float(figures["test loss"]), summary["test_loss"])

    def test_same_bits_from_the_command_line_settings(self):
        path = write_job(self.folder, job(self.data))
        digests = set()
        for flags in ((), ("--servers", "1", "--workers", "4"), ("--set", "cluster.workers=1")):
            code, out, err = self.tessera("run", path, *flags)
            self.assertEqual(code, 0, out + err)
            digests.add(read_summary(os.path.join(self.folder, "runs", "small"))["weights_digest"])
        self.assertEqual(len(digests), 1)

    def test_later_run_moves_the_earlier_folder_aside(self):
        path = write_job(self.folder, job(self.data))
        for number in (1, 2, 3):
            code, out, err = self.tessera("run", path, "--set", f"job.seed={number}")
            self.assertEqual(code, 0, err)
            if number > 1:
                self.assertRegex(out, rf"earlier run .*runs/small\.{number - 1}\b")
        seeds = [read_summary(os.path.join(self.folder, "runs", name))["seed"]
                 for name in ("small.1", "small.2", "small")]
        self.assertEqual(seeds, [1, 2, 3])

    def test_second_run_at_the_same_time_is_refused_by_name(self):
        run = self.endless_run()
        code, _, err = self.tessera("run", os.path.join(self.folder, "job.yaml"))
        self.assertEqual(code, 2)
        self.assertEqual(len(lines_of(err)), 1, err)
        self.assertIn("`small`", err)
        self.assertEqual(named_pid(err), run.process.pid)
        self.assertIsNone(run.process.child.poll())
        self.assertTrue(all(child.lives() for child in run.children))

    def test_workers_without_a_replica_are_named(self):
        path = write_job(self.folder, job(self.data, train={"replicas": 2}))
        code, out, err = self.tessera("run", path, "--workers", "3")
        self.assertEqual(code, 0, err)
        self.assertRegex(out, r"more workers than replicas \(train\.replicas: 2\); idle: worker 2 \(pid \d+")
        summary = read_summary(os.path.join(self.folder, "runs", "small"))
        self.assertEqual((summary["workers"], summary["replicas"]), (3, 2))

    def test_taken_port_of_the_file_gives_way_to_a_free_one(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            path = write_job(self.folder, job(self.data, cluster={"coordinator": f"127.0.0.1:{port}"}))
            code, out, err = self.tessera("run", path)
        self.assertEqual(code, 0, err)
        self.assertRegex(out, rf"port {port} is in use")

    def test_divergence_is_told_with_layer_and_step(self):
        path = write_job(self.folder, job(self.data, train={"optimizer": {"lr": "1e6"}}))
        code, _, err = self.tessera("run", path)
        self.assertEqual(code, 1)
        self.assertEqual(len(lines_of(err)), 1, err)
        self.assertRegex(err, r"step \d+ .*layer `\w+`.* not finite")
        summary = read_summary(os.path.join(self.folder, "runs", "small"))
        self.assertEqual((summary["status"], "tessera: " + summary["message"]), ("failed", err.strip()))
