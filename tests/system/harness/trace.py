"""Trace files, as `--trace` writes them."""

import json


class Span:
    """One event of a trace; times in microseconds."""

    def __init__(self, event, end, trace):
        self.kind = event["cat"]
        self.name = event["name"]
        self.begin, self.end = event["ts"], end
        self.args = event.get("args", {})
        self.process = trace.processes[event["pid"]]
        self.track = trace.tracks[event["pid"], event["tid"]]
        self.layer = self.args.get("layer")
        self.clock = self.args.get("clock")

    def replicas(self):
        first, _, last = self.args["replicas"].partition("..")
        return range(int(first), int(last or first) + 1)

    def meets(self, other):
        return self.begin < other.end and other.begin < self.end

    def __repr__(self):
        return f"{self.process}, {self.track}: {self.name} {self.args} [{self.begin}, {self.end}]"


class Trace:
    """A trace file: of a run, or one daemon's own."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        events = content["traceEvents"] if isinstance(content, dict) else content
        self.processes = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
        self.tracks = {(event["pid"], event["tid"]): event["args"]["name"]
                       for event in events if event["name"] == "thread_name"}
        self.spans, begun = [], {}
        for event in events:
            if event["ph"] == "X":
                self.spans.append(Span(event, event["ts"] + event["dur"], self))
            elif event["ph"] == "b":
                begun[event["pid"], event["cat"], event["id2"]["local"]] = event
            elif event["ph"] == "e":
                begin = begun.pop((event["pid"], event["cat"], event["id2"]["local"]))
                self.spans.append(Span(begin, event["ts"], self))
        assert not begun, begun

    def select(self, kind, **args):
        return [span for span in self.spans
                if span.kind == kind and all(span.args.get(key) == value for key, value in args.items())]
