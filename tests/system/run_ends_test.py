"""However `tessera run` ends, it ends by itself and with all that it started."""

import os
import signal
import subprocess
import time

from harness.job import endless, job, write_job
from harness.process import children_of, lines_of, named_pid, wait_until, wait_until_gone
from harness.results import read_summary
from harness.run import LEASE, Run, RunTest

BOUND = LEASE + 1.0  # of the design, from a death to the end of the run
SLACK = 2.0          # for a busy machine


class RunEnds(RunTest):

    def assert_ends(self, run, code, since, bound=BOUND):
        self.assertEqual(run.process.wait(), code, run.process.out + run.process.err)
        elapsed = time.monotonic() - since
        print(f"  the run was over after {elapsed:.2f} s (bound {bound:g} s)", flush=True)
        self.assertLess(elapsed, bound + SLACK)
        left = [child for child in run.children if child.lives()]
        self.assertEqual(left, [], "outlived the command")

    def assert_one_line_names(self, run, child):
        lines = lines_of(run.process.err)
        self.assertEqual(len(lines), 1, lines)
        self.assertEqual(named_pid(lines[0]), child.pid, lines)
        self.assertIn(os.path.basename(child.command.split()[0]).removeprefix("tessera-"), lines[0])

    def strike(self, program, number):
        run = self.endless_run()
        victim = run.child(program)
        since = time.monotonic()
        os.kill(victim.pid, number)
        self.assert_ends(run, 1, since)
        self.assert_one_line_names(run, victim)
        return run

    def assert_summary_says_failed(self, run):
        self.assertEqual(read_summary(run.run_folder())["status"], "failed")

    def test_killed_server(self):
        self.assert_summary_says_failed(self.strike("tessera-server", signal.SIGKILL))

    def test_killed_worker(self):
        self.assert_summary_says_failed(self.strike("tessera-worker", signal.SIGKILL))

    def test_killed_coordinator(self):
        self.strike("tessera-coordinator", signal.SIGKILL)

    def test_frozen_coordinator(self):
        self.strike("tessera-coordinator", signal.SIGSTOP)

    def test_frozen_server(self):
        self.assert_summary_says_failed(self.strike("tessera-server", signal.SIGSTOP))

    def test_frozen_worker(self):
        self.assert_summary_says_failed(self.strike("tessera-worker", signal.SIGSTOP))

    def interrupt(self, number):
        run = self.endless_run()
        since = time.monotonic()
        run.process.send(number)
        self.assert_ends(run, 128 + number, since)
        self.assertEqual(run.process.err, "")
        self.assertEqual(read_summary(run.run_folder())["status"], "stopped")

    def test_ctrl_c(self):
        self.interrupt(signal.SIGINT)

    def test_termination(self):
        self.interrupt(signal.SIGTERM)

    def test_second_ctrl_c_does_not_wait_for_a_frozen_child(self):
        run = self.endless_run()
        os.kill(run.child("tessera-coordinator").pid, signal.SIGSTOP)
        since = time.monotonic()
        run.process.send(signal.SIGINT)
        wait_until(lambda: "stopping" in run.process.out, "the first Ctrl-C")
        run.process.send(signal.SIGINT)
        self.assert_ends(run, 130, since)

    def test_killed_command_takes_its_children_along(self):
        run = self.endless_run()
        since = time.monotonic()
        run.process.send(signal.SIGKILL)
        self.assertEqual(run.process.wait(), -signal.SIGKILL)
        wait_until_gone(run.children)
        print(f"  all gone after {time.monotonic() - since:.2f} s", flush=True)

    def test_killed_run_does_not_lock_its_name(self):
        run = self.endless_run()
        run.process.send(signal.SIGKILL)
        run.process.wait()
        wait_until_gone(run.children)
        path = write_job(self.folder, job(self.data), "short.yaml")
        code, out, err = self.tessera("run", path)
        self.assertEqual(code, 0, err)
        self.assertIn("runs/small.1", out)

    def test_ctrl_c_at_the_start(self):
        run = self.start(write_job(self.folder, endless(self.data)))
        wait_until(lambda: children_of(run.process.pid), "the first child")
        run.children = children_of(run.process.pid)
        since = time.monotonic()
        run.process.send(signal.SIGINT)
        self.assert_ends(run, 130, since)

    def test_run_whose_output_nobody_reads_leaves_nothing_behind(self):
        path = write_job(self.folder, job(self.data, train={"epochs": 20}))
        reader = subprocess.Popen(["head", "-n", "1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        run = Run(self.folder, path, stdout=reader.stdin)
        self.addCleanup(run.end)
        reader.stdin.close()
        run.wait_for_log("running:")
        run.process.wait(120)
        reader.wait()
        wait_until_gone(run.children)
