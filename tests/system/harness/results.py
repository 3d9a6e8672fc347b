"""What a run leaves in its folder."""

import hashlib
import json
import os
import struct


def read_summary(folder):
    with open(os.path.join(folder, "summary.json"), encoding="utf-8") as file:
        return json.load(file)


def digest_of_file(path):
    """The `weights_digest` that the summary must have, from the safetensors file alone."""
    with open(path, "rb") as file:
        content = file.read()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    tensors = json.loads(content[8:start])
    tensors.pop("__metadata__", None)
    digest = hashlib.sha256()
    for name in sorted(tensors, key=lambda name: name.encode()):
        begin, end = tensors[name]["data_offsets"]
        digest.update(name.encode() + b"\0" + content[start + begin:start + end])
    return digest.hexdigest()


def tensor_shapes(path):
    """{name: shape} of a safetensors file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}
