"""Where the programs under test are."""

import os

_folder = None


def set_folder(folder):
    global _folder
    _folder = os.path.abspath(folder)


def path(program):
    return os.path.join(_folder, program)
