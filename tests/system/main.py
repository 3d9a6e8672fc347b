"""Runs system tests: main.py --programs build/bin daemon_deaths_test.DaemonDeaths ..."""

import argparse
import sys
import unittest

from harness import programs

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True, help="folder of tessera and the daemons")
    parser.add_argument("tests", nargs="+", help="MODULE, MODULE.CLASS or MODULE.CLASS.METHOD")
    options = parser.parse_args()
    programs.set_folder(options.programs)
    suite = unittest.defaultTestLoader.loadTestsFromNames(options.tests)
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(suite)
    sys.exit(0 if result.wasSuccessful() else 1)
