"""`tessera status`, `stop`, `config` and `eval` beside a run."""

import os
import socket

from harness import programs
from harness.job import job, write_job
from harness.process import finish, lines_of
from harness.results import read_summary
from harness.run import RunTest


class OtherCommands(RunTest):

    def test_status_shows_training_by_every_name(self):
        run = self.endless_run()
        address = run.wait_for_log(r"listens on (\S+)").group(1)
        for target in (["job.yaml"], ["runs/small"], ["--coordinator", address]):
            code, out, err = self.tessera("status", *target)
            self.assertEqual((code, err), (0, ""), target)
            for word in ("small", "server 0", "server 1", "worker 0", "worker 1"):
                self.assertIn(word, out)
        code, out, err = self.tessera("status", run.run_folder(), cwd=self.root)
        self.assertEqual((code, err), (0, ""), "from another folder")

    def test_status_says_for_whom_the_job_waits(self):
        cluster = self.cluster(write_job(self.folder, job(self.data)), 1, 2).start(1, 1)
        cluster.wait_for_log("worker 0 .* joined")
        for target in ([cluster.run_folder], ["--coordinator", cluster.address()]):
            code, out, _ = self.tessera("status", *target)
            self.assertEqual(code, 0)
            self.assertRegex(out, r"waiting for 1 of 2 workers, \d+ s")

    def test_stop_ends_a_run_in_order(self):
        run = self.endless_run()
        code, out, err = self.tessera("stop", "runs/small")
        self.assertEqual((code, err), (0, ""), out)
        self.assertEqual(run.process.wait(), 1, run.process.err)
        self.assertEqual(len(lines_of(run.process.err)), 1, run.process.err)
        self.assertRegex(run.process.err, r"stopped after [\d,]+ of [\d,]+ steps")
        self.assertEqual(read_summary(run.run_folder())["status"], "stopped")
        self.assertEqual([child for child in run.children if child.lives()], [])
        code, out, _ = self.tessera("status", "runs/small")
        self.assertEqual(code, 0)
        self.assertIn("stopped", out)
        for node in ("server-0", "server-1", "worker-0", "worker-1"):
            self.assertNotIn("tessera-", run.log(node), "an error in the log of a node that was stopped")

    def test_another_job_at_the_address_of_a_job_file_is_left_alone(self):
        cluster = self.cluster(write_job(self.folder, job(self.data)), 1, 1).start(1, 0)
        cluster.wait_for_log("server 0 .* joined")
        path = write_job(self.folder, job(self.data, job={"name": "second"},
                                          cluster={"coordinator": cluster.address()}), "second.yaml")
        for command in ("status", "stop"):
            code, out, err = self.tessera(command, path)
            self.assertEqual((code, out), (1, ""), command)
            self.assertIn(f"job `small` answers at {cluster.address()}, not `second`", err)
        self.assertEqual(self.tessera("stop", "--coordinator", cluster.address())[0], 0)
        self.assert_all_exit(cluster, 0)

    def test_stop_ends_a_cluster_that_waits(self):
        cluster = self.cluster(write_job(self.folder, job(self.data)), 1, 2).start(1, 1)
        cluster.wait_for_log("worker 0 .* joined")
        self.assertEqual(self.tessera("stop", "--coordinator", cluster.address())[0], 0)
        self.assert_all_exit(cluster, 0)

    def test_status_of_nobody(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            code, _, err = self.tessera("status", "--coordinator", address)
        self.assertEqual(code, 1)
        self.assertEqual(len(lines_of(err)), 1, err)
        self.assertIn(address, err)

    def test_config_show_is_the_same_job_again(self):
        path = write_job(self.folder, job(self.data))
        code, shown, err = self.tessera("config", "show", path)
        self.assertEqual((code, err), (0, ""))
        again = write_job(self.folder, shown, "shown.yaml")
        self.assertEqual(self.tessera("config", "show", again)[1], shown)
        self.assertEqual(self.tessera("config", "check", again)[0], 0)

    def test_eval_refuses_what_is_no_model_of_the_job(self):
        path = write_job(self.folder, job(self.data))
        for content in (b"", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}"):
            with open(os.path.join(self.folder, "bad.safetensors"), "wb") as file:
                file.write(content)
            code, _, err = self.tessera("eval", path, "bad.safetensors")
            self.assertEqual(code, 2, err)
            self.assertEqual(len(lines_of(err)), 1, err)
            self.assertIn("bad.safetensors", err)

    def test_version_and_help_everywhere(self):
        for program in ("tessera", "tessera-coordinator", "tessera-server", "tessera-worker"):
            for flag in ("--version", "--help"):
                code, out, err = finish([programs.path(program), flag], self.folder)
                self.assertEqual((code, err), (0, ""), program)
                self.assertIn(program, out)
