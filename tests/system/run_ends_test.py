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
INTERRUPTED = 5.0    # how long nodes may take to leave in order
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

    def strike(self, program, number=signal.SIGKILL):
        """Sends the signal to the first of `program`; it is started again, and training goes on."""
        run = self.endless_run()
        victim = run.child(program)
        os.kill(victim.pid, number)
        run.wait_for_output(rf"{program.removeprefix('tessera-')}( \d)? was started again \(pid \d+\)")
        self.assertIn(f"(pid {victim.pid})", run.process.out)
        epochs = run.epochs()
        wait_until(lambda: run.epochs() >= epochs + 2, lambda: f"training: {run.process.out}\n{run.process.err}")
        run.children = children_of(run.process.pid)
        self.assertEqual(len(run.children), 5, run.children)
        since = time.monotonic()
        run.process.send(signal.SIGINT)
        self.assert_ends(run, 130, since, INTERRUPTED)
        self.assertEqual(run.process.err, "")

    def test_killed_server_is_started_again(self):
        self.strike("tessera-server")

    def test_killed_worker_is_started_again(self):
        self.strike("tessera-worker")

    def test_killed_coordinator_is_started_again(self):
        self.strike("tessera-coordinator")

    def test_frozen_coordinator_is_started_again_after_three_leases(self):
        self.strike("tessera-coordinator", signal.SIGSTOP)

    def test_without_restarts_the_coordinators_death_ends_the_run(self):
        run = self.endless_run("--no-restart")
        victim = run.child("tessera-coordinator")
        since = time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)
        self.assert_ends(run, 1, since)
        self.assert_one_line_names(run, victim)

    def test_without_restarts_the_last_workers_death_ends_the_run(self):
        run = self.endless_run("--no-restart")
        first, last = (child for child in run.children if "tessera-worker" in child.command)
        os.kill(first.pid, signal.SIGKILL)
        run.wait_for_log("training goes on at step")
        self.assertIsNone(run.process.child.poll())
        since = time.monotonic()
        os.kill(last.pid, signal.SIGKILL)
        self.assert_ends(run, 1, since, INTERRUPTED)
        self.assert_one_line_names(run, last)
        summary = read_summary(run.run_folder())
        self.assertEqual(summary["status"], "failed")
        self.assertEqual("tessera: " + summary["message"], lines_of(run.process.err)[0])

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
