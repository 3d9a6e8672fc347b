"""Job files."""

import copy
import os


def job(data_folder, **sections):
    """A job on the data set of `data_folder`, 4 replicas of 4 images, with `sections` merged in."""
    def split(name):
        return {"format": "idx", "path": data_folder, "split": name}

    result = {
        "job": {"name": "small", "seed": 1},
        "model": "lenet5",
        "data": {"train": split("train"), "test": split("test")},
        "train": {
            "replicas": 4,
            "batch_size": 4,
            "epochs": 1,
            "optimizer": {"name": "momentum", "lr": 0.02, "momentum": 0.9, "weight_decay": "5e-4"},
        },
        "cluster": {"coordinator": "127.0.0.1:0", "servers": 2, "workers": 2, "lease": "10s"},
        "device": {"kind": "cpu", "threads": 1},
    }
    return _merged(result, sections)


def endless(data_folder, **sections):
    """A job that no test sees the end of."""
    return _merged(job(data_folder, train={"epochs": 100000}), sections)


def write_job(folder, content, name="job.yaml"):
    """Writes `content`, the file's text or what job() gives. Returns the path."""
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(content if isinstance(content, str) else yaml_text(content))
    return path


def yaml_text(content):
    return "".join(f"{key}: {_flow(value)}\n" for key, value in content.items())


def _flow(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(inner) for inner in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _merged(base, changes):
    result = copy.deepcopy(base)
    for key, value in changes.items():
        inner = result.get(key)
        result[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result
