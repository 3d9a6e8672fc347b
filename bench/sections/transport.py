"""Tensor bytes from process to process through the real client, service and store, beside bare sockets and a copy.

Both processes are on this machine, one replica, in sync, shards of 512 KiB. A push is a round that the store has applied and
acknowledged; a pull is a read whose answer lies in PulledWeights; an exchange is a push answered with the next version, bytes
of both ways counted. The floors move the same number of bytes from one model's memory to another's; `cached` moves one
256 KiB buffer over and over, which no model does. Bare sockets: 256 KiB writes, socket buffers of 256 KiB, where TCP was best.
"""
from rows import Row, in_turn

TARGETS = ["transport_benchmark"]

ROUNDS = 5
SECONDS = 0.3
MODELS = {"": 64 << 20, "/lenet5": 431080 * 4}  # by the suffix of the rows' names
SOCKET_BUFFER = 256 * 1024
PATHS = {"tcp": "bare TCP", "shm": "bare unix socket"}  # and the floor that each is held against


def _rate(context, *arguments):
    """A function that measures once, in GB/s."""
    command = ["transport_benchmark", "--seconds", SECONDS, *arguments]
    return lambda: context.run_json(command)["gigabytes_per_second"]


def _floors(context, model_bytes):
    socket = ("--socket-buffer-bytes", SOCKET_BUFFER, "--payload-bytes", model_bytes)
    return {"bare TCP": _rate(context, "--path", "bare-tcp", *socket),
            "bare unix socket": _rate(context, "--path", "bare-unix", "--payload-bytes", model_bytes),
            "memcpy": _rate(context, "--path", "memcpy", "--model-bytes", model_bytes)}


def _exchanges(context, path, suffix, model_bytes):
    """By the row's name."""
    def rate(*arguments):
        return _rate(context, "--path", path, "--model-bytes", model_bytes, *arguments)
    name = f"transport/{path}/"
    return {f"{name}push{suffix}": rate("--direction", "push", "--optimizer", "momentum"),
            f"{name}push_sgd{suffix}": rate("--direction", "push", "--optimizer", "sgd"),
            f"{name}pull{suffix}": rate("--direction", "pull"),
            f"{name}exchange{suffix}": rate("--direction", "exchange")}


def run(context):
    rows = []
    for suffix, model_bytes in MODELS.items():
        floors = _floors(context, model_bytes)
        if not suffix:
            floors["cached TCP"] = _rate(context, "--path", "bare-tcp", "--socket-buffer-bytes", SOCKET_BUFFER)
            floors["cached unix socket"] = _rate(context, "--path", "bare-unix")
        exchanges, reference = {}, {}
        for path, floor in PATHS.items():
            for name, measure in _exchanges(context, path, suffix, model_bytes).items():
                exchanges[name], reference[name] = measure, floor
        values = in_turn({**floors, **exchanges}, ROUNDS)
        rows += [Row.of(f"transport/floor/{floor.replace(' ', '_')}{suffix}", "GB/s", values[floor]) for floor in floors]
        rows += [Row.of(name, "GB/s", values[name], reference[name], values[reference[name]]) for name in exchanges]
    return rows
