#!/usr/bin/env python3
"""Trains lenet5 on Fashion-MNIST with PyTorch's DistributedDataParallel: gloo over the loopback, one thread a process.

    torch_ddp.py --data FOLDER --target 0.90 --epochs 5 --form eager|channels_last [--flip] [--processes 2] [--batch 128]

Momentum 0.9 and weight decay 5e-4 as torch.optim.SGD, a cosine down to 0 over all epochs under a warm-up of 100 steps: what
the job of the section `accuracy` says. The images are in memory, normalised, before the clock starts; an epoch is a new
permutation, cut into steps of processes x batch; with --flip every second image is turned around by chance. Each epoch ends
with an evaluation of all test images, shared out among the processes. Prints one line of JSON for each epoch,
`{"epoch", "accuracy", "seconds"}`, seconds since the first step's begin, evaluations included; ends after the last or once
the accuracy is the target's.
"""
import argparse
import gzip
import json
import math
import os
import socket
import time

import networks
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn import functional

LEARNING_RATE = 0.05
WARM_UP_STEPS = 100
TEST_BATCH = 500


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--target", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--form", choices=["eager", "channels_last"], required=True)
    parser.add_argument("--flip", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    return parser.parse_args()


def read_idx(path, header):
    with gzip.open(path) as file:
        return torch.frombuffer(bytearray(file.read()[header:]), dtype=torch.uint8)


def read_split(folder, prefix):
    """Pixels in 0..1 [N,1,28,28] and labels [N]."""
    labels = read_idx(os.path.join(folder, prefix + "-labels-idx1-ubyte.gz"), 8).long()
    images = read_idx(os.path.join(folder, prefix + "-images-idx3-ubyte.gz"), 16)
    return images.view(len(labels), 1, 28, 28).float() / 255, labels


def learning_rate(step, steps):
    wave = (1 + math.cos(math.pi * step / steps)) / 2
    return LEARNING_RATE * wave * min(1, (step + 1) / WARM_UP_STEPS)


class Trainer:
    def __init__(self, rank, options):
        self.rank, self.options = rank, options
        images, self.labels = read_split(options.data, "train")
        test, self.test_labels = read_split(options.data, "t10k")
        mean, deviation = images.mean(), images.std()
        self.images, self.test = (images - mean) / deviation, (test - mean) / deviation
        model = networks.make("lenet5", 1)
        if options.form == "channels_last":
            model = model.to(memory_format=torch.channels_last)
        torch.manual_seed(1 + rank)
        self.model = torch.nn.parallel.DistributedDataParallel(model)
        self.optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9, weight_decay=5e-4)
        self.step_samples = options.batch * options.processes
        self.epoch_steps = len(self.labels) // self.step_samples

    def chosen(self, which):
        """Images of the training set, changed as the job says."""
        images = self.images[which]
        if self.options.flip:
            turned = torch.rand(len(images)) < 0.5
            images[turned] = images[turned].flip(3)
        return self.in_form(images)

    def in_form(self, images):
        if self.options.form == "channels_last":
            return images.to(memory_format=torch.channels_last)
        return images

    def train(self, epoch):
        order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(1 + epoch))
        for step in range(self.epoch_steps):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(epoch * self.epoch_steps + step, self.options.epochs * self.epoch_steps)
            begin = step * self.step_samples + self.rank * self.options.batch
            which = order[begin:begin + self.options.batch]
            self.optimizer.zero_grad()
            functional.cross_entropy(self.model(self.chosen(which)), self.labels[which]).backward()
            self.optimizer.step()

    def accuracy(self):
        correct = torch.zeros(1)
        self.model.eval()
        with torch.no_grad():
            for begin in range(self.rank * TEST_BATCH, len(self.test), TEST_BATCH * self.options.processes):
                logits = self.model.module(self.in_form(self.test[begin:begin + TEST_BATCH]))
                correct += (logits.argmax(1) == self.test_labels[begin:begin + TEST_BATCH]).sum()
        self.model.train()
        dist.all_reduce(correct)
        return correct.item() / len(self.test)


def work(rank, port, options):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=options.processes)
    trainer = Trainer(rank, options)
    dist.barrier()
    begin = time.perf_counter()
    for epoch in range(options.epochs):
        trainer.train(epoch)
        accuracy = trainer.accuracy()
        if rank == 0:
            seconds = time.perf_counter() - begin
            print(json.dumps({"epoch": epoch + 1, "accuracy": accuracy, "seconds": seconds}), flush=True)
        if accuracy >= options.target:
            break
    dist.destroy_process_group()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    given = parse()
    mp.spawn(work, (free_port(), given), nprocs=given.processes)
