#!/usr/bin/env python3
"""Writes the first inputs of the targets into corpus/, beside what script/fuzz found since: small and valid, from the
formats' descriptions and not from the code under test. usage: tests/fuzz/make_corpus.py"""

import hashlib
import json
import pathlib
import sqlite3
import struct
import sys
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent / "system"))

from harness.wire import field  # noqa: E402

HELLO, PUSH, READ, CREDIT, FORWARD, COPY = 1, 2, 3, 7, 11, 13
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
    write("frame", "hello", frame(header(HELLO, extra=field(10, 1 << 20) + field(15, 6) + field(16, "worker 1"))))
    offer = field(18, field(1, 1) + field(2, 3) + field(3, 4096) + field(4, bytes(16)))
    shared = field(19, 1) + field(22, field(1, 1) + field(2, 7)) + field(21, field(1, 1) + field(2, 4096) + field(3, 48))
    write("frame", "shared_memory", frame(header(HELLO, extra=offer), header(CREDIT, extra=field(10, 9)),
                                          header(PUSH, extra=shared + field(6, 1) + field(14, 2))))
    write("frame", "clocks", frame(header(HELLO, extra=b"".join(field(25, c) + field(26, c + 1) for c in range(4)))))
    def packed(*numbers):
        return bytes(numbers)

    def forward(version, clock, covered=packed(0, 3)):
        update = field(2, TERM) + field(4, covered) + b"\x29" + struct.pack("<d", 0.1)
        return header(FORWARD, 2, clock=clock, tensor=16, extra=field(6, version) + field(29, update))

    write("frame", "forwards", frame(forward(1, 0), forward(1, 0), forward(2, 1, packed(2, 3, 0, 1)), forward(4, 3),
                                     header(FORWARD, 2, extra=probe), tensors=4 * floats(4)))
    numbers = field(7, 8) + field(8, packed(2)) + field(9, packed(2, 2, 2, 2)) + field(10, packed(2, 2, 2, 2)) + field(12, 3)
    pieces = [header(COPY, 1, tensor=48, extra=field(6, 2) + field(29, field(2, TERM) + field(6, name) + more))
              for name, more in (("slots/momentum_buffer", b""), ("previous", b""), ("weights", numbers))]
    write("frame", "copy", frame(*pieces, tensors=3 * floats(12)))
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


def manifests():
    def parameter(name, shape, uniform, value):
        return {"name": name, "shape": shape, "uniform": uniform, "value": value}

    def part(name, shards):
        return {"name": name, "bytes": 1000, "sha256": hashlib.sha256(name.encode()).hexdigest(), "shards": shards}

    whole = {
        "format_version": 1, "job": "small", "clock": 120, "steps_per_epoch": 60, "epochs": 3, "rewind": 1, "mode": "sync",
        "job_yaml": "job: { name: small }\n", "shard_bytes": 16, "created": "2026-01-31T12:00:00Z",
        "blocks": [
            {"layer": "fc", "statistic": False, "parameters": [parameter("fc.weight", [2, 3], True, 0.5)]},
            {"layer": "bn", "statistic": True, "parameters": [parameter("bn.running_var", [2], False, 1.0)]}],
        "files": [part("server-0-a.safetensors", [0, 2]), part("server-1-b.safetensors", [1])]}
    write("checkpoint_manifest", "whole.json", json.dumps(whole).encode())
    write("checkpoint_manifest", "no_files.json", json.dumps({**whole, "files": []}).encode())
    write("checkpoint_manifest", "another_version.json", json.dumps({"format_version": 2}).encode())
    write("checkpoint_manifest", "shard_not_there.json", json.dumps({**whole, "files": [part("a", [3])]}).encode())


def checkpoint_parts():
    def record(shard, slots):
        return {"shard": shard, "version": 7, "applied_pushes": 28, "group_clocks": [7], "replica_clocks": [7, 7, 7, 6],
                "applied": [7, 7, 7, 6], "dropped": 1, "slots": slots}

    def part(records, lengths):
        tensors, end = {}, 0
        for name, length in sorted(lengths.items()):
            tensors[name] = tensor("F32", [length], end, end + 4 * length)
            end += 4 * length
        text = json.dumps({"format": 1, "shards": records})
        return safetensors({"__metadata__": {"tessera_checkpoint": text}, **tensors}, floats(end // 4))

    momentum = "/slots/momentum"
    lengths = {"fc [0,4)/weights": 4, "fc [0,4)" + momentum: 4, "fc [4,6)/weights": 2, "fc [4,6)" + momentum: 2,
               "bn statistics [0,2)/weights": 2}
    records = [record(0, ["momentum"]), record(1, ["momentum"]), record(2, [])]
    write("checkpoint_part", "whole", part(records, lengths))
    write("checkpoint_part", "one_shard", part([record(1, [])], {"fc [4,6)/weights": 2}))
    write("checkpoint_part", "another_length", part([record(1, [])], {"fc [4,6)/weights": 3}))
    write("checkpoint_part", "no_such_shard", part([record(9, [])], {"fc [4,6)/weights": 2}))
    write("checkpoint_part", "no_metadata", safetensors({"a": tensor("F32", [1], 0, 4)}, floats(1)))


def journal(states, schema=1):
    """A journal of coordinator/journal.h with pages as small as SQLite has them. `states`: {sequence: bytes}."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "journal"
        database = sqlite3.connect(path, isolation_level=None)
        database.executescript(f"""PRAGMA page_size=512; PRAGMA application_id={0x54535341}; PRAGMA user_version={schema};
            CREATE TABLE state(sequence INTEGER PRIMARY KEY, digest BLOB, state BLOB)""")
        for sequence, state in states.items():
            digest = hashlib.sha256(struct.pack("<q", sequence) + state).digest()
            database.execute("INSERT INTO state VALUES (?, ?, ?)", (sequence, digest, state))
        database.close()
        return path.read_bytes()


def journals():
    write("journal", "none", journal({}))
    write("journal", "two", journal({1: b"first", 2: b"second"}))
    write("journal", "over_pages", journal({5: b"a" * 700, 6: b"b" * 700}))
    write("journal", "damaged_newest", journal({1: b"first", 2: b"the second"}).replace(b"the second", b"The second"))
    write("journal", "another_schema", journal({1: b"first"}, schema=2))


if __name__ == "__main__":
    for make in (frames, weights_files, manifests, checkpoint_parts, journals):
        make()
