"""A push in the server: reduction, optimizer and new version in GB/s, beside a copy of as much memory in the same run."""
from rows import Row, in_turn

TARGETS = ["server_benchmark"]
ROUNDS = 7
COPY = "Copy"
# Google Benchmark's name: the row's. GB/s are of the tensors that must move between memory and processor.
CASES = {
    "Sgd/1": "server/update/sgd/replicas1",
    "Momentum/1": "server/update/momentum/replicas1",
    "Momentum/2": "server/update/momentum/replicas2",
    "Momentum/4": "server/update/momentum/replicas4",
    "MomentumShared/2": "server/update/momentum/replicas2_shared_memory",
    "Adam/1": "server/update/adam/replicas1",
}


def run(context):
    def gigabytes(case):
        def measure():
            report = context.run_json(["server_benchmark", f"--benchmark_filter=^{case}$", "--benchmark_format=json",
                                       "--benchmark_min_time=0.2"])
            return report["benchmarks"][0]["bytes_per_second"] / 1e9
        return measure

    values = in_turn({case: gigabytes(case) for case in (COPY, *CASES)}, ROUNDS)
    rows = [Row.of("server/copy", "GB/s", values[COPY])]
    for case, name in CASES.items():
        rows.append(Row.of(name, "GB/s", values[case], "a copy of as much memory", values[COPY]))
    return rows
