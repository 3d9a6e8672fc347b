#!/usr/bin/env python3
"""Golden values by PyTorch: what every executor is compared with.

    make_golden.py [NAME...]             writes NAME.json (all of them without a name), resnet18_logits.json and
                                         state_dicts.json beside this script
    make_golden.py --full NAME OUT       writes every tensor of one network's step to OUT, as safetensors
    make_golden.py --logits MODEL OUT    writes a resnet18 of torchvision to MODEL, and to OUT its inputs and logits
    make_golden.py --search NAME COUNT   looks through COUNT seeds for the widest margin (see below)

Weights, images and labels come from a formula that formula.h repeats (class Formula), so no data is shared. After one
training step in float32 it records the loss, the gradient of every parameter, and of every batch normalisation the
batch's mean, its unbiased variance and the running values after their update (momentum 0.1). Of each tensor the JSON
holds the norm, seeded samples (all elements of a small tensor) and the products with 8 vectors of +1 and -1.

The seed is chosen so that rounding decides nothing: no input of a ReLU lies near zero and no two largest values of a
pooling window lie near each other (`margin`), or one flipped element would be an error of 1e-3 in somebody's gradient.
"""

import json
import math
import pathlib
import struct
import sys
from typing import Callable, NamedTuple

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

CLASSES = 10
PROJECTIONS = 8
MOMENTUM = 0.1
CHUNK = 1 << 22  # elements that the formula makes at a time


class Formula:
    """Numbers as a pure function of (seed, name, element): FNV-1a of "seed/name", then SplitMix64."""

    GAMMA = np.uint64(0x9E3779B97F4A7C15)

    def __init__(self, seed):
        self.seed = seed

    def bits(self, name, count, first=0):
        key = 0xCBF29CE484222325
        for byte in f"{self.seed}/{name}".encode():
            key = (key ^ byte) * 0x100000001B3 % 2**64
        with np.errstate(over="ignore"):
            z = np.uint64(key) + np.arange(first + 1, first + count + 1, dtype=np.uint64) * self.GAMMA
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            return z ^ (z >> np.uint64(31))

    def chunks(self, name, count):
        """All bits of `name`: (first, bits) of at most CHUNK elements each."""
        for first in range(0, count, CHUNK):
            yield first, self.bits(name, min(CHUNK, count - first), first)

    def tensor(self, name, shape, function):
        """float32: `function` of numbers in [-1, 1) of 24 bits."""
        values = np.empty(math.prod(shape), np.float32)
        for first, bits in self.chunks(name, values.size):
            u = (bits >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0
            values[first : first + u.size] = function(u)
        return values.reshape(shape)

    def images(self, shape):
        return self.tensor("images", shape, lambda u: u)

    def parameter(self, name, shape):
        if len(shape) > 1:
            bound = math.sqrt(6.0 / math.prod(shape[1:]))
            return self.tensor(name, shape, lambda u: u * bound)
        if name.endswith("running_mean"):
            return self.tensor(name, shape, lambda u: 0.1 * u)
        if name.endswith(".weight") or name.endswith("running_var"):
            return self.tensor(name, shape, lambda u: 1.0 + 0.1 * u)
        # Away from zero, so that few inputs of the ReLU behind a batch normalisation lie near it.
        return self.tensor(name, shape, lambda u: np.where(u < 0, u - 1.0, u + 1.0))

    def labels(self, count):
        return (self.bits("labels", count) % np.uint64(CLASSES)).astype(np.int64)


class Lenet5(nn.Module):
    """Caffe's form. Source: LeCun 1998; Caffe's examples/mnist/lenet."""

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


class CifarResnet(nn.Module):
    """Of depth 6n+2, with n blocks in each stage. Source: as Block."""

    def __init__(self, n):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16, momentum=MOMENTUM)
        self.relu1 = nn.ReLU()
        self.layer1 = nn.Sequential(Block(16, 16, 1), *(Block(16, 16, 1) for _ in range(n - 1)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), *(Block(32, 32, 1) for _ in range(n - 1)))
        self.layer3 = nn.Sequential(Block(32, 64, 2), *(Block(64, 64, 1) for _ in range(n - 1)))
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.relu1(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def of_torchvision(name, **options):
    return lambda classes=CLASSES: torchvision.models.get_model(name, num_classes=classes, **options)


class Network(NamedTuple):
    make: Callable
    image: tuple
    batch: int
    seed: int  # that --search found
    samples: int = 8
    options: dict = {}  # of the zoo's network


NO_DROPOUT = {"dropout": "0"}
NETWORKS = {
    "lenet5": Network(Lenet5, (1, 28, 28), 8, 494, 256),
    "resnet20": Network(lambda: CifarResnet(3), (3, 28, 28), 8, 34, 256),
    "resnet18": Network(of_torchvision("resnet18"), (3, 40, 40), 4, 9),
    "resnet50": Network(of_torchvision("resnet50"), (3, 40, 40), 2, 13, 4),
    "vgg11": Network(of_torchvision("vgg11", init_weights=False, dropout=0.0), (3, 32, 32), 2, 9, 8, NO_DROPOUT),
    "alexnet": Network(of_torchvision("alexnet", dropout=0.0), (3, 64, 64), 2, 10, 8, NO_DROPOUT),
}

LOGITS_SEED = 1
LOGITS_IMAGES = (16, 3, 40, 40)
LOGITS_SCALE = 0.5  # in evaluation nothing is normalised: keeps the logits as small as a trained network's

# With their published forms: what state_dicts.json lists.
PUBLISHED = {
    **{f"resnet{6 * n + 2}": lambda n=n: CifarResnet(n) for n in (3, 5, 9)},
    **{name: lambda name=name: of_torchvision(name)(1000) for name in ("alexnet", "resnet18", "resnet34", "resnet50")},
    **{name: lambda name=name: of_torchvision(name, init_weights=False)(1000) for name in ("vgg11", "vgg16")},
}


def is_tensor_of_ours(name):
    return not name.endswith("num_batches_tracked")


def fill(model, formula, scale=1):
    """Gives `model` the formula's weights, through float32 so that both precisions start from the same numbers.

    `scale` is that of the weights of convolutions and linear layers.
    """
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if is_tensor_of_ours(name):
                tensor.copy_(torch.from_numpy(formula.parameter(name, tuple(tensor.shape))))
                if tensor.dim() > 1:
                    tensor *= scale
    return model


def make(network, seed, dtype):
    """The network with the formula's weights, its images and its labels."""
    formula = Formula(seed)
    model = fill(network.make().to(dtype), formula).train()
    images = torch.from_numpy(formula.images((network.batch, *network.image)))
    return model, images.to(dtype), torch.from_numpy(formula.labels(network.batch))


def margin_of(network, seed):
    """The smallest distance from which rounding could choose another branch, computed in double."""
    model, images, _ = make(network, seed, torch.float64)
    margins = []

    def of_relu(_module, inputs):  # before it: some work in place
        margins.append(inputs[0].abs().min().item())

    def of_pool(module, inputs):
        size, stride, padding = module.kernel_size, module.stride, module.padding
        padded = F.pad(inputs[0], (padding,) * 4, value=-math.inf)
        two = padded.unfold(2, size, stride).unfold(3, size, stride).flatten(4).topk(2, dim=-1).values
        gap = two[..., 0] - two[..., 1]
        # Equal zeros are what a ReLU stopped: no gradient passes, whichever is chosen.
        margins.append(gap[(two[..., 0] != 0) | (two[..., 1] != 0)].min().item())

    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(of_relu)
        if isinstance(module, nn.MaxPool2d):
            module.register_forward_pre_hook(of_pool)
    with torch.no_grad():
        model(images)
    return min(margins)


def step(network):
    """One training step in float32: loss, correct predictions, and every tensor of the result by name."""
    model, images, labels = make(network, network.seed, torch.float32)
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
        if is_tensor_of_ours(name):
            tensors[f"running/{name}"] = buffer
    arrays = {name: tensor.detach().numpy().astype(np.float32) for name, tensor in tensors.items()}
    return loss.item(), int((logits.argmax(1) == labels).sum()), dict(sorted(arrays.items()))


def short(value):
    """Nine digits: all that a float32 has."""
    return float(f"{value:.9g}")


def projections(formula, name, values):
    """Products with vectors of +1 and -1: vector p has the signs of bit 63 - p."""
    products = np.zeros(PROJECTIONS)
    for first, bits in formula.chunks(f"projections/{name}", values.size):
        chunk = values[first : first + bits.size].astype(np.float64)
        for p in range(PROJECTIONS):
            negative = (bits >> np.uint64(63 - p) & np.uint64(1)).astype(bool)
            products[p] += chunk.sum() - 2 * chunk[negative].sum()
    return products


def summarise(formula, name, array, samples):
    values = array.ravel()
    if values.size <= samples:
        indices = np.arange(values.size)
    else:
        indices = (formula.bits(f"samples/{name}", samples) % np.uint64(values.size)).astype(np.int64)
    return {
        "shape": list(array.shape),
        "norm": short(math.sqrt(np.square(values, dtype=np.float64).sum())),
        "samples": [short(values[i]) for i in indices],
        "projections": [short(product) for product in projections(formula, name, values)],
    }


def write_json(name, value, line_break):
    """Compact, but for a new line at each `line_break`."""
    text = json.dumps(value, indent=None, separators=(",", ":")).replace(line_break, line_break[:-1] + "\n" + '"')
    (pathlib.Path(__file__).parent / f"{name}.json").write_text(text + "\n")


def write_golden(name):
    network = NETWORKS[name]
    loss, correct, tensors = step(network)
    formula = Formula(network.seed)
    golden = {
        "script": "tests/golden/make_golden.py",
        "pytorch": torch.__version__,
        "network": name,
        "options": network.options,
        "seed": network.seed,
        "image": list(network.image),
        "classes": CLASSES,
        "batch": network.batch,
        "momentum": MOMENTUM,
        "margin": margin_of(network, network.seed),
        "loss": loss,
        "correct": correct,
        "tensors": {key: summarise(formula, key, value, network.samples) for key, value in tensors.items()},
    }
    write_json(name, golden, '},"')


def write_logits():
    """The logits of a resnet18 in evaluation, for the formula's weights and images."""
    formula = Formula(LOGITS_SEED)
    model = fill(NETWORKS["resnet18"].make(), formula, LOGITS_SCALE).eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(formula.images(LOGITS_IMAGES)))
    golden = {
        "script": "tests/golden/make_golden.py",
        "pytorch": torch.__version__,
        "network": "resnet18",
        "seed": LOGITS_SEED,
        "images": list(LOGITS_IMAGES),
        "scale": LOGITS_SCALE,
        "classes": CLASSES,
        "logits": [short(value) for value in logits.numpy().ravel()],
    }
    write_json("resnet18_logits", golden, ',"')


def write_state_dicts():
    """Every parameter's and running value's name and shape, in PyTorch's order."""
    published = {}
    for name, network in sorted(PUBLISHED.items()):
        model = network()
        published[name] = {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "state_dict": [[k, list(v.shape)] for k, v in model.state_dict().items() if is_tensor_of_ours(k)],
        }
    write_json("state_dicts", published, '},"')


def write_safetensors(path, arrays):
    header, offset = {}, 0
    raw = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    for key, array in raw.items():
        dtype = {"<f4": "F32", "<i8": "I64"}[array.dtype.str]
        header[key] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in raw.values():
            file.write(array.tobytes())


def write_full(name, path):
    loss, _, tensors = step(NETWORKS[name])
    write_safetensors(path, {**tensors, "loss": np.array([loss], dtype=np.float32)})


def write_model_and_logits(model_path, logits_path):
    """torchvision's resnet18 as PyTorch itself starts and saves it, with running values of real activations."""
    torch.manual_seed(LOGITS_SEED)
    model = torchvision.models.resnet18()
    images = torch.randn(LOGITS_IMAGES)
    with torch.no_grad():
        model.train()
        for _ in range(20):
            model(torch.randn(LOGITS_IMAGES))
        logits = model.eval()(images)
    write_safetensors(model_path, {name: tensor.numpy() for name, tensor in model.state_dict().items()})
    write_safetensors(logits_path, {"images": images.numpy(), "logits": logits.numpy()})


def search(name, count):
    margins = sorted(((margin_of(NETWORKS[name], seed), seed) for seed in range(count)), reverse=True)
    for margin, seed in margins[:5]:
        print(f"seed {seed}: margin {margin:.3g}", flush=True)


def main(arguments):
    torch.set_num_threads(1)
    if len(arguments) == 3 and arguments[0] == "--full":
        write_full(arguments[1], arguments[2])
    elif len(arguments) == 3 and arguments[0] == "--logits":
        write_model_and_logits(arguments[1], arguments[2])
    elif len(arguments) == 3 and arguments[0] == "--search":
        search(arguments[1], int(arguments[2]))
    elif set(arguments) <= set(NETWORKS):
        for name in arguments or NETWORKS:
            write_golden(name)
        write_logits()
        write_state_dicts()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
