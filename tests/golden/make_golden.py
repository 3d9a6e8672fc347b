#!/usr/bin/env python3
"""Golden values of one training step by PyTorch: what every executor is compared with.

    make_golden.py                       writes lenet5.json and resnet20.json beside this script
    make_golden.py --full NAME OUT       writes every tensor of one network to OUT, as safetensors
    make_golden.py --search NAME COUNT   looks through COUNT seeds for the widest margin (see below)

Weights, images and labels come from a formula that golden.cc repeats (class Formula), so no data is shared. After one
step in float32 it records the loss, the gradient of every parameter, and of every batch normalisation the batch's mean,
its unbiased variance and the running values after their update (momentum 0.1). Of each tensor the JSON holds the norm,
256 seeded samples (all elements of a small tensor) and the products with 8 vectors of +1 and -1.

The seed is chosen so that rounding decides nothing: no input of a ReLU lies near zero and no two largest values of a
pooling window lie near each other (`margin`), or one flipped element would be an error of 1e-3 in somebody's gradient.
"""

import json
import math
import pathlib
import struct
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BATCH = 8
CLASSES = 10
SAMPLES = 256
PROJECTIONS = 8
MOMENTUM = 0.1


class Formula:
    """Numbers as a pure function of (seed, name, element): FNV-1a of "seed/name", then SplitMix64."""

    GAMMA = np.uint64(0x9E3779B97F4A7C15)

    def __init__(self, seed):
        self.seed = seed

    def bits(self, name, count):
        key = 0xCBF29CE484222325
        for byte in f"{self.seed}/{name}".encode():
            key = (key ^ byte) * 0x100000001B3 % 2**64
        with np.errstate(over="ignore"):
            z = np.uint64(key) + np.arange(1, count + 1, dtype=np.uint64) * self.GAMMA
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            return z ^ (z >> np.uint64(31))

    def uniform(self, name, shape):
        """float64 in [-1, 1), 24 bits."""
        bits = self.bits(name, math.prod(shape)) >> np.uint64(40)
        return (bits.astype(np.float64) * 2.0**-23 - 1.0).reshape(shape)

    def parameter(self, name, shape):
        u = self.uniform(name, shape)
        if len(shape) > 1:
            return u * math.sqrt(6.0 / math.prod(shape[1:]))
        if name.endswith("running_mean"):
            return 0.1 * u
        if name.endswith(".weight") or name.endswith("running_var"):
            return 1.0 + 0.1 * u
        # Away from zero, so that few inputs of the ReLU behind a batch normalisation lie near it.
        return np.where(u < 0, u - 1.0, u + 1.0)

    def labels(self):
        return (self.bits("labels", BATCH) % np.uint64(CLASSES)).astype(np.int64)


class Lenet5(nn.Module):
    """Caffe's form. Source: LeCun 1998; Caffe's examples/mnist/lenet."""

    image = (1, 28, 28)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(800, 500)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Linear(500, CLASSES)

    def forward(self, x):
        x = self.pool2(self.conv2(self.pool1(self.conv1(x))))
        return self.fc2(self.relu1(self.fc1(x.flatten(1))))


class Block(nn.Module):
    """Residual block with option A. Source: He 2016, as in Y. Idelbayev's pytorch_resnet_cifar10."""

    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels, momentum=MOMENTUM)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, momentum=MOMENTUM)
        self.relu2 = nn.ReLU()
        self.stride = stride
        self.pad = (channels - in_channels) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        if self.stride != 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return self.relu2(y + x)


class Resnet20(nn.Module):
    image = (3, 28, 28)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16, momentum=MOMENTUM)
        self.relu1 = nn.ReLU()
        self.layer1 = nn.Sequential(Block(16, 16, 1), Block(16, 16, 1), Block(16, 16, 1))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.relu1(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


NETWORKS = {"lenet5": (Lenet5, 494), "resnet20": (Resnet20, 34)}  # with the seed that --search found


def make(network, seed, dtype):
    """The network with the formula's weights, its images and its labels."""
    formula = Formula(seed)
    model = network().to(dtype).train()
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        # Through float32, so that both precisions start from the same numbers.
        value = formula.parameter(name, tuple(tensor.shape)).astype(np.float32)
        state[name] = torch.from_numpy(value).to(dtype)
    model.load_state_dict(state)
    images = formula.uniform("images", (BATCH, *network.image)).astype(np.float32)
    return model, torch.from_numpy(images).to(dtype), torch.from_numpy(formula.labels())


def margin_of(network, seed):
    """The smallest distance from which rounding could choose another branch, computed in double."""
    model, images, _ = make(network, seed, torch.float64)
    margins = []

    def of_relu(_module, inputs, _output):
        margins.append(inputs[0].abs().min().item())

    def of_pool(module, inputs, _output):
        size = module.kernel_size
        windows = inputs[0].unfold(2, size, size).unfold(3, size, size).flatten(4)
        two = windows.topk(2, dim=-1).values
        margins.append((two[..., 0] - two[..., 1]).min().item())

    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(of_relu)
        if isinstance(module, nn.MaxPool2d):
            module.register_forward_hook(of_pool)
    with torch.no_grad():
        model(images)
    return min(margins)


def step(network, seed):
    """One training step in float32: loss, correct predictions, and every tensor of the result by name."""
    model, images, labels = make(network, seed, torch.float32)
    tensors = {}

    def record(name):
        def hook(_module, inputs, _output):
            tensors[f"batch/{name}.running_mean"] = inputs[0].mean((0, 2, 3))
            tensors[f"batch/{name}.running_var"] = inputs[0].var((0, 2, 3), unbiased=True)

        return hook

    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(record(name))
    logits = model(images)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    for name, parameter in model.named_parameters():
        tensors[f"gradient/{name}"] = parameter.grad
    for name, buffer in model.named_buffers():
        if not name.endswith("num_batches_tracked"):
            tensors[f"running/{name}"] = buffer
    arrays = {name: tensor.detach().numpy().astype(np.float32) for name, tensor in tensors.items()}
    return loss.item(), int((logits.argmax(1) == labels).sum()), dict(sorted(arrays.items()))


def summarise(formula, name, array):
    values = array.astype(np.float64).ravel()
    if values.size <= SAMPLES:
        indices = np.arange(values.size)
    else:
        indices = (formula.bits(f"samples/{name}", SAMPLES) % np.uint64(values.size)).astype(np.int64)
    signs = [
        np.where(formula.bits(f"projection{p}/{name}", values.size) >> np.uint64(63), -1.0, 1.0)
        for p in range(PROJECTIONS)
    ]
    return {
        "shape": list(array.shape),
        "norm": float(np.linalg.norm(values)),
        "samples": [float(f"{values[i]:.9g}") for i in indices],
        "projections": [float(np.dot(s, values)) for s in signs],
    }


def write_golden(name):
    network, seed = NETWORKS[name]
    loss, correct, tensors = step(network, seed)
    golden = {
        "script": "tests/golden/make_golden.py",
        "pytorch": torch.__version__,
        "network": name,
        "seed": seed,
        "image": list(network.image),
        "classes": CLASSES,
        "batch": BATCH,
        "momentum": MOMENTUM,
        "margin": margin_of(network, seed),
        "loss": loss,
        "correct": correct,
        "tensors": {key: summarise(Formula(seed), key, value) for key, value in tensors.items()},
    }
    path = pathlib.Path(__file__).parent / f"{name}.json"
    path.write_text(json.dumps(golden, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n")


def write_full(name, path):
    network, seed = NETWORKS[name]
    loss, _, tensors = step(network, seed)
    tensors = {**tensors, "loss": np.array([loss], dtype=np.float32)}
    header, data = {}, b""
    for key, array in tensors.items():
        raw = array.astype("<f4").tobytes()
        header[key] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def search(name, count):
    margins = sorted(((margin_of(NETWORKS[name][0], seed), seed) for seed in range(count)), reverse=True)
    for margin, seed in margins[:5]:
        print(f"seed {seed}: margin {margin:.3g}")


def main(arguments):
    torch.set_num_threads(1)
    if not arguments:
        for name in NETWORKS:
            write_golden(name)
    elif len(arguments) == 3 and arguments[0] == "--full":
        write_full(arguments[1], arguments[2])
    elif len(arguments) == 3 and arguments[0] == "--search":
        search(arguments[1], int(arguments[2]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
