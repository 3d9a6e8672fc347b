"""PyTorch on this machine: Debian's package, and the newest that PyPI has, in a virtual environment of our own."""
import os
import select
import subprocess
import sys
import tempfile
from typing import NamedTuple

FOLDER = os.path.dirname(os.path.abspath(__file__))
DEBIAN_PYTHON = "/usr/bin/python3"
INSTALL_TIMEOUT = 1800
START_TIMEOUT = 300  # torch.compile calls a compiler for every kernel


class Unavailable(Exception):
    """A PyTorch, or a form of it, that cannot be had here; says why."""


class PyTorch(NamedTuple):
    version: str
    python: str  # the interpreter that has it


def debian():
    """Debian's python3-torch, installed when it is missing and we may. Raises Unavailable."""
    if _version(DEBIAN_PYTHON) is None:
        if os.geteuid() != 0:
            raise Unavailable("python3-torch is not installed (sudo apt-get install python3-torch)")
        _call(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "python3-torch"])
    return _of(DEBIAN_PYTHON)


def newest(folder, note):
    """PyPI's, in a virtual environment `folder`, made when it is missing; `note` is told, for that takes a while.

    PyPI has one build for x86-64, which wants CUDA's libraries (5 GB on disk) and runs without a GPU. Raises Unavailable.
    """
    python = os.path.join(folder, "bin", "python")
    if _version(python) is None:
        note(f"installing PyPI's torch into {folder}")
        _call([sys.executable, "-m", "venv", folder])
        _call([python, "-m", "pip", "install", "-q", "torch", "numpy"])
    return _of(python)


def find(context):
    """Those that can be had: {"debian": ..., "newest": ...}; what cannot is told to `context`."""
    found = {}
    sources = {"debian": debian, "newest": lambda: newest(os.path.join(context.data, "pytorch"), context.note)}
    for source, get in sources.items():
        try:
            found[source] = get()
        except Unavailable as reason:
            context.skip(f"PyTorch ({source})", str(reason))
    return found


def run(pytorch, script, arguments, timeout):
    """Runs a script of this folder to its end. Returns its lines. Raises Unavailable when it fails."""
    return _call([pytorch.python, "-B", os.path.join(FOLDER, script), *map(str, arguments)], timeout).splitlines()


class Step:
    """A process that repeats one training step (torch_step.py); idle but while it measures."""

    def __init__(self, pytorch, network, image, batch, threads, form, cache):
        """Starts and warms up; compiled kernels go to the folder `cache`. Raises Unavailable."""
        self._errors = tempfile.TemporaryFile(mode="w+")
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_CACHE_DIR": cache}
        self._child = subprocess.Popen(
            [pytorch.python, "-B", os.path.join(FOLDER, "torch_step.py"), "--network", network, "--image", *map(str, image),
             "--batch", str(batch), "--threads", str(threads), "--form", form],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment)
        try:
            self._answer(START_TIMEOUT)
        except Unavailable:
            self.close()
            raise

    def measure(self, seconds):
        """Images per second in so long."""
        print(seconds, file=self._child.stdin, flush=True)
        return float(self._answer(10 * seconds + 60))

    def close(self):
        """Ends the process."""
        self._child.kill()
        self._child.communicate()

    def _answer(self, timeout):
        readable, _, _ = select.select([self._child.stdout], [], [], timeout)
        if not readable:
            raise Unavailable(f"PyTorch did not answer in {timeout:g} s")
        line = self._child.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise Unavailable(_last_line(self._errors.read()))
        return line


def _of(python):
    version = _version(python)
    if version is None:
        raise Unavailable(f"{python} cannot import torch")
    return PyTorch(version, python)


def _version(python):
    """Of the torch that `python` imports, or None."""
    try:
        done = subprocess.run([python, "-B", "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True,
                              timeout=120, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _call(command, timeout=INSTALL_TIMEOUT):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True).stdout
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"`{' '.join(command)}`: {_last_line(error.stderr)}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"`{' '.join(command)}`: {error}") from error


def _last_line(text):
    return (text.strip().splitlines() or ["no message"])[-1]
