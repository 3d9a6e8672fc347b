"""The base of all test classes."""

import os
import re
import shutil
import tempfile
import time
import unittest

from harness.cluster import Cluster
from harness.data_set import write_data_set
from harness.process import text_of
from harness.results import read_summary

SANITIZER_REPORT = re.compile(r"(ERROR: \w+Sanitizer|: runtime error: ).*", re.DOTALL)


class SystemTest(unittest.TestCase):
    """Gives every class a data set and every test a folder of its own."""

    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="tessera-system-")
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        cls.data = write_data_set(os.path.join(cls.root, "data"))

    def setUp(self):
        self.addCleanup(self._expect_no_findings)  # cleanups run in reverse: after the last process has ended
        self.home = tempfile.mkdtemp(dir=self.root)
        self.folder = self.new_folder()
        self.addCleanup(self._print_seconds, time.monotonic())

    def _print_seconds(self, started):
        print(f"  {time.monotonic() - started:.1f} s", flush=True)

    def _expect_no_findings(self):
        """Whatever the test expects of its processes: none may have met what a sanitizer reports."""
        for folder, _, names in os.walk(self.home):
            for name in names:
                if name.endswith((".out", ".err", ".log")):
                    found = SANITIZER_REPORT.search(text_of(os.path.join(folder, name)))
                    self.assertIsNone(found, f"{name}: {found and found.group()}")

    def new_folder(self):
        return tempfile.mkdtemp(dir=self.home)

    def cluster(self, job_path, servers, workers, **options):
        """A cluster whose processes end with the test."""
        cluster = Cluster(self.new_folder(), job_path, servers, workers, **options)
        self.addCleanup(cluster.end)
        return cluster

    def train(self, job_path, servers, workers, settings=()):
        """Trains to the end on a cluster of its own; all must exit with 0. Returns (summary, run folder)."""
        with Cluster(self.new_folder(), job_path, servers, workers, settings) as cluster:
            cluster.start(servers, workers)
            self.assert_all_exit(cluster, 0)
            return read_summary(cluster.run_folder), cluster.run_folder

    def assert_all_exit(self, cluster, code, timeout=120):
        for process in cluster.processes():
            self.assertEqual(process.wait(timeout), code, f"{process.name}\n{process.out}\n{process.err}")
