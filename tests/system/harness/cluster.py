"""A cluster of daemons, each started by hand as a platform would."""

import os
import re

from harness import programs
from harness.process import Process, wait_until


class Cluster:
    """One coordinator and its nodes on loopback, with free ports. end() is to be called, or `with` used."""

    def __init__(self, folder, job_path, servers, workers, settings=(), bind="127.0.0.1:0"):
        self.folder = folder
        self.run_folder = os.path.join(folder, "run")
        os.makedirs(self.run_folder)
        arguments = [programs.path("tessera-coordinator"), "--config", job_path, "--bind", bind,
                     "--run-folder", self.run_folder]
        for setting in (f"cluster.servers={servers}", f"cluster.workers={workers}", *settings):
            arguments += ["--set", setting]
        self._coordinator_arguments = arguments
        self.servers, self.workers = [], []
        self.coordinator = Process("coordinator", arguments, folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        for process in self.processes():
            process.end()

    def processes(self):
        return [self.coordinator, *self.servers, *self.workers]

    def address(self):
        path = os.path.join(self.run_folder, "coordinator")
        wait_until(lambda: os.path.exists(path) or self.coordinator.child.poll() is not None,
                   "the coordinator's address")
        if not os.path.exists(path):
            raise AssertionError(f"the coordinator ended: {self.coordinator.err}")
        with open(path, encoding="utf-8") as file:
            return file.read().strip()

    def restart_coordinator(self):
        """Starts it again where it was, going on with its journal."""
        arguments = list(self._coordinator_arguments)
        arguments[arguments.index("--bind") + 1] = self.address()
        self.coordinator = Process("coordinator-again", [*arguments, "--resume"], self.folder)

    def move_coordinator(self, bind, run_folder):
        """Starts one at another address, which goes on with the journal in another folder."""
        arguments = self._coordinator_arguments
        arguments[arguments.index("--bind") + 1] = bind
        arguments[arguments.index("--run-folder") + 1] = self.run_folder = run_folder
        self.coordinator = Process("coordinator-elsewhere", [*arguments, "--resume"], self.folder)

    def start(self, servers, workers, flags=(), coordinators=None):
        """Starts that many more nodes, with `flags` on each one's command line; they find the coordinator at its address, or
        one of `coordinators`. Returns self."""
        address = coordinators or self.address()
        for kind, nodes, count in (("server", self.servers, servers), ("worker", self.workers, workers)):
            for _ in range(count):
                arguments = [programs.path("tessera-" + kind), "--coordinator", address, *flags]
                nodes.append(Process(f"{kind}-{len(nodes)}", arguments, self.folder))
        return self

    def wait_for_log(self, pattern):
        """Waits for a line of the coordinator that matches. Returns the match."""
        return wait_until(lambda: re.search(pattern, self.coordinator.out),
                          lambda: f"`{pattern}` in the coordinator's log:\n{self.coordinator.out}"
                                  f"{self.coordinator.err}")

    def server_addresses(self):
        return re.findall(r"server \d+ \(pid \d+, ([^)]+)\) joined", self.coordinator.out)
