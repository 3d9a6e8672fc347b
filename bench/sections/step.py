"""The training step of the cpu executor (forward and backward, no optimizer), beside PyTorch's.

One row for each network, number of threads and form of PyTorch that it is measured against. Every form has a process
of its own, which is idle while another measures.
"""
import os
from contextlib import ExitStack

from peers import pytorch
from rows import Row, in_turn

TARGETS = ["executor_benchmark"]

NETWORKS = {"lenet5": ((1, 28, 28), 64), "resnet20": ((3, 32, 32), 64), "resnet18": ((3, 64, 64), 32)}
THREADS = (1, 2)
ROUNDS = 7
SECONDS = 0.7  # of each measurement
FORMS = {"debian": ("eager", "channels_last"), "newest": ("eager", "channels_last", "compile")}


def run(context):
    pytorches = pytorch.find(context) if context.peers else {}
    if not context.peers:
        context.skip("step/*/PyTorch", "only with --peers")
    rows = []
    for network in NETWORKS:
        for threads in THREADS:
            rows += measure(context, network, threads, pytorches)
    return rows


def measure(context, network, threads, pytorches):
    name = f"step/{network}/threads{threads}"
    context.note(name)
    with ExitStack() as stack:
        peers = start_peers(context, name, network, threads, pytorches, stack)
        sides = {"ours": lambda: images_per_second(context, network, threads)}
        sides.update({reference: lambda step=step: step.measure(SECONDS) for reference, step in peers.items()})
        values = in_turn(sides, ROUNDS)
    ours = values.pop("ours")
    if not values:
        return [Row.of(name, "images/s", ours)]
    return [Row.of(name, "images/s", ours, reference, samples) for reference, samples in values.items()]


def start_peers(context, name, network, threads, pytorches, stack):
    """The processes of all forms that work here, by what the rows call them; `stack` ends them."""
    image, batch = NETWORKS[network]
    cache = os.path.join(context.data, "inductor")
    peers = {}
    for source, found in pytorches.items():
        for form in FORMS[source]:
            reference = f"PyTorch {found.version} {form}"
            try:
                step = pytorch.Step(found, network, image, batch, threads, form, cache)
            except pytorch.Unavailable as reason:
                context.skip(f"{name}/{reference}", str(reason))
                continue
            stack.callback(step.close)
            peers[reference] = step
    return peers


def images_per_second(context, network, threads):
    """Of our executor, by Google Benchmark."""
    case = f"^Train/{network}/batch:{NETWORKS[network][1]}/threads:{threads}/real_time$"
    report = context.run_json(["executor_benchmark", f"--benchmark_filter={case}", f"--benchmark_min_time={SECONDS}",
                               "--benchmark_format=json"])
    (measured,) = report["benchmarks"]
    if "error_message" in measured:
        raise RuntimeError(f"{case}: {measured['error_message']}")
    return measured["items_per_second"]
