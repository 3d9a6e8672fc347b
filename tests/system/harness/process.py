"""Child processes, and waits that all end."""

import ctypes
import os
import re
import signal
import socket
import subprocess
import time

# For what takes a moment on an idle machine and many seconds on a busy one.
PATIENCE = 60

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def wait_until(condition, what, timeout=PATIENCE):
    """Returns the first true value of `condition()`; after `timeout` s it is an AssertionError of `what`."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(0.01)


class Process:
    """A child in a process group of its own, its output in files; it dies with the test."""

    def __init__(self, name, arguments, folder, cwd=None, stdout=None):
        self.name = name
        self.out_path = os.path.join(folder, name + ".out")
        self.err_path = os.path.join(folder, name + ".err")
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.child = subprocess.Popen(
                arguments, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout or out, stderr=err,
                start_new_session=True, preexec_fn=_die_with_parent)
        self.pid = self.child.pid

    @property
    def out(self):
        return text_of(self.out_path)

    @property
    def err(self):
        return text_of(self.err_path)

    def send(self, number):
        self.child.send_signal(number)

    def wait(self, timeout=PATIENCE):
        """The exit code, negative for a signal."""
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            output = f"{self.out}\n{self.err}"
            raise AssertionError(f"{self.name} still runs after {timeout} s\n{output}") from None

    def end(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def peak_bytes(self):
        """The most memory that was resident so far."""
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", text_of(f"/proc/{self.pid}/status")).group(1))

    def cpu_seconds(self):
        """Time on a processor so far, user and system."""
        fields = text_of(f"/proc/{self.pid}/stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def finish(arguments, folder, cwd=None, timeout=PATIENCE, name="command"):
    """Runs to the end. Returns (exit code, stdout, stderr)."""
    process = Process(name, arguments, folder, cwd)
    try:
        code = process.wait(timeout)
    finally:
        process.end()
    return code, process.out, process.err


class Identity:
    """One process for good: a pid may come back, a pid with its start time does not."""

    def __init__(self, pid):
        self.pid = pid
        self.command = text_of(f"/proc/{pid}/cmdline").replace("\0", " ")
        self._start = _start_time(pid)

    def lives(self):
        """A zombie does not: PID 1 may be slow to reap it."""
        return self._start is not None and _start_time(self.pid) == self._start

    def __repr__(self):
        return f"{self.pid} ({self.command.strip()})"


def children_of(pid):
    """The identities of the children of `pid`, all threads' together."""
    pids = []
    for task in os.listdir(f"/proc/{pid}/task"):
        pids += [int(child) for child in text_of(f"/proc/{pid}/task/{task}/children").split()]
    return [Identity(child) for child in pids]


def wait_until_gone(identities, timeout=20):
    wait_until(lambda: not any(one.lives() for one in identities),
               lambda: f"the end of {[one for one in identities if one.lives()]}", timeout)


def free_port():
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lines_of(text):
    return [line for line in text.splitlines() if line.strip()]


def named_pid(line):
    """The number in "(pid 123" of `line`, or None."""
    found = re.search(r"\(pid (\d+)", line)
    return int(found.group(1)) if found else None


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def text_of(path):
    """The file's text, or "" when it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _start_time(pid):
    fields = text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if fields and fields[0] not in "ZX" else None
