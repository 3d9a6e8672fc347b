"""What script/bench hands to a section."""
import json
import os
import subprocess
import sys


class Skipped(Exception):
    """Raised by a section that has nothing to measure here, with the reason."""


class Context:
    def __init__(self, programs, data, peers=False):
        self.programs = programs  # folder of our programs
        self.data = data  # folder for generated data sets; kept between runs
        self.peers = peers  # --peers: measure other systems too
        self.skipped = []  # (name, reason) of what this section did not measure

    def program(self, name):
        """The path of one of our programs."""
        return os.path.join(self.programs, name)

    def skip(self, name, reason):
        """Reports under the table that `name` was not measured."""
        self.skipped.append((name, reason))

    def note(self, text):
        """Progress, on stderr."""
        print(text, file=sys.stderr, flush=True)

    def run_json(self, arguments, timeout=120):
        """Runs a program of ours (its name first) that prints JSON. Returns that; a failure is an error with its stderr."""
        path = self.program(arguments[0])
        done = subprocess.run([path, *map(str, arguments[1:])], capture_output=True, text=True, timeout=timeout)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, arguments))} exited with {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)
