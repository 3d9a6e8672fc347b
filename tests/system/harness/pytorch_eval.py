"""Loads a safetensors file into PyTorch's own lenet5 and prints what it makes of a test set, as JSON.

usage: pytorch_eval.py MODEL.safetensors DATA_FOLDER     for a Python that has torch
"""
import json
import os
import struct
import sys

import torch
from torch.nn import functional

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "..", "bench", "peers"))
from networks import Lenet5  # noqa: E402


def tensors_of(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        content = file.read()
    header.pop("__metadata__", None)
    result = {}
    for name, about in header.items():
        assert about["dtype"] == "F32", name
        begin, end = about["data_offsets"]
        flat = torch.frombuffer(bytearray(content[begin:end]), dtype=torch.float32)
        result[name] = flat.reshape(about["shape"])
    return result


def idx(folder, name):
    with open(os.path.join(folder, name), "rb") as file:
        content = file.read()
    dimensions = content[3]
    shape = struct.unpack(f">{dimensions}I", content[4:4 + 4 * dimensions])
    return torch.frombuffer(bytearray(content[4 + 4 * dimensions:]), dtype=torch.uint8).reshape(shape)


def main():
    path, data = sys.argv[1:]
    model = Lenet5(1)
    model.load_state_dict(tensors_of(path))  # strict: every name, every shape
    train = idx(data, "train-images-idx3-ubyte").double() / 255
    images = ((idx(data, "t10k-images-idx3-ubyte").double() / 255 - train.mean()) / train.std(unbiased=False)).float()
    labels = idx(data, "t10k-labels-idx1-ubyte").long()
    with torch.no_grad():
        logits = model(images.unsqueeze(1)).double()
    print(json.dumps({"loss": functional.cross_entropy(logits, labels).item(),
                      "accuracy": (logits.argmax(1) == labels).double().mean().item()}))


main()
