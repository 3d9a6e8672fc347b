"""A small data set in the IDX format: ten classes, each with a pattern of its own under noise."""

import os
import random
import struct

SIDE = 28
CLASSES = 10


def idx_images(images):
    """The bytes of an IDX file of `images`, each SIDE * SIDE bytes."""
    return struct.pack(">IIII", 0x803, len(images), SIDE, SIDE) + b"".join(images)


def idx_labels(labels):
    return struct.pack(">II", 0x801, len(labels)) + bytes(labels)


def write_data_set(folder, train=512, test=200, seed=1):
    """Writes both splits into `folder`, under the names of the published data sets. Returns `folder`."""
    generator = random.Random(seed)
    patterns = [bytes(generator.randrange(160) for _ in range(SIDE * SIDE)) for _ in range(CLASSES)]
    for prefix, count in (("train", train), ("t10k", test)):
        labels = [index % CLASSES for index in range(count)]
        images = [_noisy(patterns[label], generator) for label in labels]
        write(folder, prefix + "-images-idx3-ubyte", idx_images(images))
        write(folder, prefix + "-labels-idx1-ubyte", idx_labels(labels))
    return folder


def write(folder, name, content):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(content)


def _noisy(pattern, generator):
    return bytes(value + noise % 96 for value, noise in zip(pattern, generator.randbytes(len(pattern))))
