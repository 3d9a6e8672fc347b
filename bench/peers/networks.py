"""The networks of worker/nn/zoo in PyTorch, for comparisons of speed: the same layers, shapes and initial weights."""
import torch
from torch import nn
from torch.nn import functional

CLASSES = 10


class Lenet5(nn.Module):
    def __init__(self, _channels):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, CLASSES)

    def forward(self, x):
        x = functional.max_pool2d(self.conv1(x), 2)
        x = functional.max_pool2d(self.conv2(x), 2)
        return self.fc2(functional.relu(self.fc1(x.flatten(1))))


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut: padded with zeros (`projection` false) or a 1x1 convolution."""

    def __init__(self, in_channels, channels, stride, projection):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.pad = (channels - in_channels) // 2
        self.downsample = None
        if stride != 1 and projection:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False),
                                            nn.BatchNorm2d(channels))

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.downsample is not None:
            x = self.downsample(x)
        elif self.stride != 1:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return functional.relu(y + x)


class Resnet(nn.Module):
    """A first part, stages of blocks whose channels double, the mean over the image, a linear layer."""

    def __init__(self, stem, channels, stages, blocks, projection):
        super().__init__()
        layers, last = [], channels
        for stage in range(stages):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(Block(last, channels << stage, stride, projection))
                last = channels << stage
        self.stem = stem
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(last, CLASSES)

    def forward(self, x):
        return self.linear(self.layers(self.stem(x)).mean((2, 3)))


def resnet20(channels):
    stem = nn.Sequential(nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return Resnet(stem, 16, stages=3, blocks=3, projection=False)


def resnet18(channels):
    stem = nn.Sequential(nn.Conv2d(channels, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
                         nn.MaxPool2d(3, 2, 1))
    return Resnet(stem, 64, stages=4, blocks=2, projection=True)


def make(name, channels):
    """The network `name` for images of so many channels, in training mode, with initial weights from seed 1."""
    torch.manual_seed(1)
    return {"lenet5": Lenet5, "resnet20": resnet20, "resnet18": resnet18}[name](channels).train()
