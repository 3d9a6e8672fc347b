#!/usr/bin/env python3
"""Fails on an include that goes against the architecture, or on a cycle of modules.

A module is a folder, or the files of a folder that a pattern names. ARCHITECTURE.md draws the same graph.
"""
import fnmatch
import pathlib
import re
import sys

# module: (files, modules it may include, third-party headers that it may not). The first pattern that fits counts.
MODULES = {
    "proto": (["proto/*"], [], []),
    "shared memory": (["common/shared_memory/*"], ["common"], ["grpc", "yaml-cpp", "google/protobuf", "dnnl"]),
    "rpc": (["common/rpc/*"], ["common", "shared memory", "proto"], ["yaml-cpp", "dnnl"]),
    "checkpoint": (["common/checkpoint/*"], ["common"], ["grpc", "yaml-cpp", "google/protobuf", "dnnl"]),
    "common": (["common/*"], [], ["grpc", "yaml-cpp", "google/protobuf", "dnnl"]),
    "config": (["config/*"], ["common"], ["grpc", "dnnl"]),
    "server daemon": (
        ["server/main.cc", "server/server_node.*", "server/adoption_report.*", "server/server_duties.*", "server/map_adopter.*", "server/store_factory.*",
         "server/grpc_*"],
        ["server core", "common", "checkpoint", "shared memory", "rpc", "proto", "config"],
        ["yaml-cpp", "dnnl"],
    ),
    "server core": (["server/*"], ["common", "checkpoint"], ["grpc", "yaml-cpp", "google/protobuf", "dnnl"]),
    "nn": (["worker/nn/*"], ["common"], ["grpc", "yaml-cpp", "google/protobuf", "dnnl"]),
    "data": (["worker/data/*"], ["common", "nn"], ["grpc", "yaml-cpp", "google/protobuf", "dnnl"]),
    "reference": (["worker/reference/*"], ["common", "nn"], ["grpc", "yaml-cpp", "google/protobuf", "dnnl"]),
    "cpu": (["worker/cpu/*"], ["common", "nn"], ["grpc", "yaml-cpp", "google/protobuf"]),
    "job": (["job/*"], ["common", "config", "nn", "data"], ["grpc", "yaml-cpp", "google/protobuf", "dnnl"]),
    "worker daemon": (
        ["worker/main.cc", "worker/map_watcher.*", "worker/training.*", "worker/worker_*"],
        ["worker core", "common", "shared memory", "rpc", "proto", "config", "job", "nn", "data", "cpu", "reference"],
        ["yaml-cpp", "dnnl"],
    ),
    "worker core": (["worker/*"], ["common", "nn", "data"], ["grpc", "yaml-cpp", "google/protobuf", "dnnl"]),
    "coordinator": (
        ["coordinator/*"],
        ["common", "checkpoint", "rpc", "proto", "config", "job", "nn", "data", "server core"],
        ["yaml-cpp", "dnnl"],
    ),
    "cli": (
        ["cli/*"],
        ["common", "checkpoint", "rpc", "proto", "config", "job", "nn", "data", "coordinator", "worker core"],
        ["yaml-cpp", "dnnl"],
    ),
}
INCLUDE = re.compile(r'^\s*#include\s+([<"])([^>"]+)[>"]', re.MULTILINE)


def module_of(path):
    for module, (patterns, _, _) in MODULES.items():
        if any(fnmatch.fnmatch(path, pattern) for pattern in patterns):
            return module
    return None


def problems_of(path, text):
    """What is wrong with the includes of the file `path` (relative to the root)."""
    module = module_of(path)
    if module is None:
        return [], set()
    _, allowed, forbidden = MODULES[module]
    problems, used = [], set()
    for bracket, target in INCLUDE.findall(text):
        other = module_of(target) if bracket == '"' else None
        if other is not None and other != module:
            used.add(other)
            if other not in allowed:
                problems.append(f"{path}: {module} may not include {target} ({other})")
        if any(target.startswith(prefix) for prefix in forbidden):
            problems.append(f"{path}: {module} may not include <{target}>")
    return problems, used


def cycle_in(edges):
    """A cycle of modules as a list, or None."""
    def visit(node, trail):
        if node in trail:
            return trail[trail.index(node):] + [node]
        for successor in sorted(edges.get(node, ())):
            found = visit(successor, trail + [node])
            if found:
                return found
        return None

    for start in sorted(edges):
        found = visit(start, [])
        if found:
            return found
    return None


def check(root):
    problems, edges, files = [], {}, 0
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root).as_posix()
        if path.suffix not in (".cc", ".h") or module_of(relative) is None:
            continue
        files += 1
        found, used = problems_of(relative, path.read_text())
        problems += found
        edges.setdefault(module_of(relative), set()).update(used)
    cycle = cycle_in(edges)
    if cycle:
        problems.append("a cycle of modules: " + " -> ".join(cycle))
    if files < 50:
        problems.append(f"only {files} source files were found under {root}")
    return problems


def self_test():
    assert problems_of("server/shard.cc", '#include "worker/trainer.h"\n')[0]
    assert problems_of("worker/nn/graph.cc", "#include <grpcpp/grpcpp.h>\n")[0]
    assert problems_of("common/x.h", '#include "config/job_spec.h"\n')[0]
    assert not problems_of("server/server_node.cc", '#include "config/job_spec.h"\n#include <vector>\n')[0]
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle_in({"a": {"b"}, "b": {"c"}}) is None
    return []


def main():
    problems = self_test() if sys.argv[1] == "--self-test" else check(pathlib.Path(sys.argv[1]))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
