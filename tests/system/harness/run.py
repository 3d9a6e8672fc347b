"""`tessera run` and its children."""

import os
import re

from harness import programs
from harness.case import SystemTest
from harness.job import endless, write_job
from harness.process import Process, children_of, finish, wait_until

LEASE = 2.0  # seconds, of endless_run()


class Run:
    """A `tessera run` in the folder `cwd`, with whoever it started."""

    def __init__(self, cwd, job_path, *flags, stdout=None):
        self.cwd = cwd
        arguments = [programs.path("tessera"), "run", job_path, *flags]
        self.process = Process("tessera-run", arguments, cwd, cwd, stdout)
        self.children = []

    def run_folder(self, job="small"):
        return os.path.join(self.cwd, "runs", job)

    def log(self, node):
        path = os.path.join(self.run_folder(), "logs", node + ".log")
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8") as file:
            return file.read()

    def wait_for_log(self, pattern):
        """Waits for a coordinator's line that matches and learns who the children are. Returns the match."""
        def look():
            if self.process.child.poll() is not None:
                raise AssertionError(f"the run is over: {self.process.out}\n{self.process.err}")
            return re.search(pattern, self.log("coordinator"))
        found = wait_until(look, lambda: f"`{pattern}`: {self.process.out}\n{self.log('coordinator')}")
        self.children = children_of(self.process.pid)
        return found

    def wait_for_output(self, pattern):
        """Waits for a line of the command that matches. Returns the match."""
        return wait_until(lambda: re.search(pattern, self.process.out),
                          lambda: f"`{pattern}`: {self.process.out}\n{self.process.err}")

    def epochs(self):
        """How many epochs' ends the command has told."""
        return len(re.findall(r"^epoch \d+/", self.process.out, re.MULTILINE))

    def child(self, program):
        """The first child that runs `program`."""
        return next(child for child in self.children if os.path.basename(child.command.split()[0]) == program)

    def end(self):
        self.process.end()


class RunTest(SystemTest):
    """The base of tests of the command."""

    def start(self, job_path, *flags):
        run = Run(self.folder, job_path, *flags)
        self.addCleanup(run.end)
        return run

    def tessera(self, *arguments, cwd=None, timeout=60):
        return finish([programs.path("tessera"), *arguments], self.folder, cwd or self.folder, timeout)

    def endless_run(self, *flags):
        path = write_job(self.folder, endless(self.data, cluster={"lease": f"{LEASE:g}s"}))
        run = self.start(path, *flags)
        run.wait_for_log(r"epoch 1/")
        self.assertEqual(len(run.children), 5, run.children)
        return run
