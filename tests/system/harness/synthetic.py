"""Data sets of noise, for what does not depend on their content."""

import os
import random
import struct

CLASSES = 10


def npy_data_set(root, name, images, shape):
    """The folder below `root` with images.npy ([images, *shape], uint8) and labels.npy (int64, of 10 classes), which are
    written when they are not there."""
    folder = os.path.join(root, f"{name}-{images}")
    if not os.path.exists(os.path.join(folder, "labels.npy")):
        os.makedirs(folder, exist_ok=True)
        size = images * shape[0] * shape[1] * shape[2]
        _write_npy(os.path.join(folder, "images.npy"), "|u1", (images, *shape), random.Random(1).randbytes(size))
        labels = struct.pack(f"<{images}q", *(index % CLASSES for index in range(images)))
        _write_npy(os.path.join(folder, "labels.npy"), "<i8", (images,), labels)
    return folder


def _write_npy(path, kind, shape, content):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content)
