#!/usr/bin/env python3
"""Writes the first inputs of the targets into corpus/, beside what script/fuzz found since: small and valid, from the
formats' descriptions and not from the code under test. usage: tests/fuzz/make_corpus.py"""

import json
import pathlib
import struct
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent / "system"))

from harness.wire import field  # noqa: E402

HELLO, PUSH, READ, CREDIT = 1, 2, 3, 7
TERM = 1


def write(target, name, content):
    path = FOLDER / "corpus" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def header(kind, shard=0, first=0, last=0, clock=0, tensor=0, extra=b""):
    """A ShardHeader of proto/parameter_service.proto."""
    return (field(1, kind) + field(2, shard) + field(3, first) + field(4, last) + field(5, clock) + field(13, TERM) +
            field(23, tensor) + extra)


def frame(*headers, tensors=b""):
    return b"".join(field(1, one) for one in headers) + (field(2, tensors) if tensors else b"")


def floats(count):
    return struct.pack(f"<{count}f", *(index / 8 for index in range(count)))


def frames():
    wants_weights, latest, settled, probe = field(7, 1), field(8, 1), field(17, 1), field(24, 1)
    single = [header(PUSH, 0, replica, replica, 0, 48, wants_weights) for replica in range(4)]
    write("frame", "round", frame(*single, tensors=4 * floats(12)))
    pairs = [header(PUSH, 2, 2, 3, 0, 16), header(PUSH, 2, 0, 1, 0, 16), header(PUSH, 2, 0, 0, 0, 16),
             header(PUSH, 2, 0, 3, 1, 16, wants_weights)]
    write("frame", "ranges", frame(*pairs, tensors=4 * floats(4)))
    write("frame", "reads", frame(header(READ, 0), header(READ, 1, 3, 3, 1), header(READ, 2, extra=latest),
                                  header(READ, 0, clock=2, extra=settled), header(PUSH, 1, extra=probe)))
    write("frame", "hello", frame(header(HELLO, extra=field(10, 1 << 20) + field(15, 3) + field(16, "worker 1"))))
    offer = field(18, field(1, 1) + field(2, 3) + field(3, 4096) + field(4, bytes(16)))
    shared = field(19, 1) + field(22, field(1, 1) + field(2, 7)) + field(21, field(1, 1) + field(2, 4096) + field(3, 48))
    write("frame", "shared_memory", frame(header(HELLO, extra=offer), header(CREDIT, extra=field(10, 9)),
                                          header(PUSH, extra=shared + field(6, 1) + field(14, 2))))
    write("frame", "clocks", frame(header(HELLO, extra=b"".join(field(25, c) + field(26, c + 1) for c in range(4)))))
    write("frame", "error", frame(header(6, extra=field(11, 10) + field(12, "an older map"))))


def safetensors(content, data=b""):
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def weights_files():
    write("safetensors", "two", safetensors(
        {"__metadata__": {"step": "3"}, "fc.bias": tensor("F32", [2], 0, 8), "fc.weight": tensor("F32", [2, 3], 8, 32)},
        floats(8)))
    write("safetensors", "empty", safetensors({}))
    write("safetensors", "scalar_and_none", safetensors(
        {"a": tensor("F32", [], 0, 4), "b": tensor("F32", [0, 7], 4, 4)}, floats(1)))
    write("safetensors", "types", safetensors(
        {"d": tensor("F64", [1], 0, 8), "h": tensor("F16", [2], 8, 12), "b": tensor("BF16", [2], 12, 16),
         "i": tensor("I64", [1], 16, 24)}, bytes(range(24))))
    write("safetensors", "other_order", safetensors(
        {"z": tensor("F32", [1], 0, 4), "a": tensor("F32", [1], 4, 8)}, floats(2)))


if __name__ == "__main__":
    frames()
    weights_files()
