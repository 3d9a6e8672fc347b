#!/usr/bin/env python3
"""Ten steps of every optimizer by PyTorch: what tests/server/optimizer_golden_test.cc compares with.

    make_optimizers.py [OUT]    writes optimizers.json beside this script, or OUT

Weights and gradients are drawn from a fixed seed over seven decades (1e-6 to 10), each element with a size of its own;
some gradients are zero. All cases share them. Each case holds the optimizer's name and options as a job file has them,
and the weights after ten steps in float32. `against_double` says how far PyTorch's float32 is from its own double, in the
measures of the test: the yardstick for what float32 can promise.
"""

import json
import pathlib
import sys

import numpy as np
import torch

ELEMENTS = 96
STEPS = 10
SEED = 20

RMSPROP = {"lr": 0.01, "alpha": 0.9, "eps": 1e-6}
ADAM = {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "eps": 1e-6}

# name of the case without weight decay: (optimizer, options)
CASES = {
    "sgd": ("sgd", {"lr": 0.1}),
    "momentum": ("momentum", {"lr": 0.05, "momentum": 0.9}),
    "nesterov": ("nesterov", {"lr": 0.05, "momentum": 0.9}),
    "adagrad": ("adagrad", {"lr": 0.05}),
    "adagrad_options": ("adagrad", {"lr": 0.05, "lr_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-6}),
    "rmsprop": ("rmsprop", {"lr": 0.01}),
    "rmsprop_options": ("rmsprop", RMSPROP),
    "rmsprop_momentum": ("rmsprop", {**RMSPROP, "momentum": 0.5}),
    "rmsprop_centered": ("rmsprop", {**RMSPROP, "centered": True}),
    "rmsprop_centered_momentum": ("rmsprop", {**RMSPROP, "centered": True, "momentum": 0.5}),
    "adam": ("adam", {"lr": 0.01}),
    "adam_options": ("adam", ADAM),
    "adamw": ("adamw", {"lr": 0.01}),
    "adamw_options": ("adamw", ADAM),
}
WEIGHT_DECAY = 0.1


def make(name, options, weight):
    """PyTorch's optimizer for a job's options."""
    options = dict(options)
    if "beta1" in options:
        options["betas"] = (options.pop("beta1"), options.pop("beta2"))
    if name in ("sgd", "momentum", "nesterov"):
        return torch.optim.SGD([weight], nesterov=name == "nesterov", **options)
    classes = {"adagrad": "Adagrad", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW"}
    return getattr(torch.optim, classes[name])([weight], **options)


def train(name, options, weights, gradients, dtype):
    """The weights before and after each step, [steps + 1, elements]."""
    weight = torch.tensor(weights, dtype=dtype, requires_grad=True)
    optimizer = make(name, options, weight)
    path = [weight.detach().clone()]
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=dtype)
        optimizer.step()
        path.append(weight.detach().clone())
    return torch.stack(path).double().numpy()


def compare(path, exact):
    """As Compare in optimizer_golden_test.cc."""
    distance = np.abs(path[-1] - exact[-1])
    strict = distance / np.maximum(np.abs(exact[-1]), 1e-30)
    error = distance / np.maximum(np.abs(path).max(axis=0), 1e-30)
    return {
        "worst": float(f"{error.max():.2e}"),
        "worst_strict": float(f"{strict.max():.2e}"),
        "strict_part": round(float((strict <= 1e-6).mean()), 3),
    }


def draw(generator, shape):
    """float32 of both signs, sizes spread evenly over the decades from 1e-6 to 10."""
    return (generator.choice([-1, 1], shape) * 10 ** generator.uniform(-6, 1, shape)).astype(np.float32)


def main():
    generator = np.random.Generator(np.random.PCG64(SEED))
    weights = draw(generator, ELEMENTS)
    # An element's gradients are of one size, with a sign of their own.
    gradients = np.abs(draw(generator, ELEMENTS)) * generator.normal(size=(STEPS, ELEMENTS))
    gradients = gradients.astype(np.float32)
    gradients[:, :3] = 0  # never a gradient
    gradients[:5, 3:6] = 0  # none at first
    gradients[5:, 6:9] = 0  # none later
    cases = {}
    for case, (name, options) in CASES.items():
        for suffix, decay in (("", 0), ("_decay", WEIGHT_DECAY)):
            settings = {**options, "weight_decay": decay}
            path = train(name, settings, weights, gradients, torch.float32)
            exact = train(name, settings, weights, gradients, torch.float64)
            cases[case + suffix] = {
                "optimizer": name,
                "options": {key: str(value).lower() for key, value in settings.items()},
                "weights": [float(str(x)) for x in path[-1].astype(np.float32)],
                "against_double": compare(path, exact),
            }
    result = {
        "script": "tests/server/golden/make_optimizers.py",
        "pytorch": torch.__version__,
        "weights": [float(str(x)) for x in weights],
        "gradients": [[float(str(x)) for x in gradient] for gradient in gradients],
        "cases": cases,
    }
    out = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("optimizers.json")
    text = json.dumps(result, separators=(",", ":"))
    pathlib.Path(out).write_text(text + "\n")


if __name__ == "__main__":
    main()
