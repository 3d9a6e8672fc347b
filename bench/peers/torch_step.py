#!/usr/bin/env python3
"""Images per second of PyTorch's training step: forward and backward, no optimizer, on a batch that stays in memory.

    torch_step.py --network resnet20 --image 3 32 32 --batch 64 --threads 1 --form eager|channels_last|compile

Prints PyTorch's version once it has warmed up; then, for each number of seconds that it reads, the images per second in
so long. Ends with its input.
"""
import argparse
import sys
import time

import networks
import torch
from torch.nn import functional

WARM_UP_STEPS = 5


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", required=True)
    parser.add_argument("--image", type=int, nargs=3, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--form", choices=["eager", "channels_last", "compile"], required=True)
    return parser.parse_args()


def make_step(options):
    """A function that does one step and returns the loss."""
    model = networks.make(options.network, options.image[0])
    images = torch.randn(options.batch, *options.image)
    labels = torch.arange(options.batch) % networks.CLASSES
    if options.form == "channels_last":
        model, images = (x.to(memory_format=torch.channels_last) for x in (model, images))
    forward = torch.compile(model) if options.form == "compile" else model

    def step():
        for parameter in model.parameters():
            parameter.grad = None
        loss = functional.cross_entropy(forward(images), labels)
        loss.backward()
        return loss.item()

    return step


def images_per_second(step, batch, seconds):
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds or steps == 0:
        step()
        steps += 1
    return batch * steps / (time.perf_counter() - begin)


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    step = make_step(options)
    for _ in range(WARM_UP_STEPS):
        step()
    print(torch.__version__, flush=True)
    for line in sys.stdin:
        print(images_per_second(step, options.batch, float(line)), flush=True)


if __name__ == "__main__":
    main()
