"""`tessera run --trace FILE`: one trace of all processes, on one clock, which shows the overlap."""

import collections
import glob
import json
import os
import signal

from harness.job import job, write_job
from harness.results import read_summary
from harness.run import RunTest
from harness.trace import Trace

LAYERS = ("conv1", "conv2", "fc1", "fc2")  # of lenet5, those with weights; the last one's gradient is the first
NODES = ["server 0", "server 1", "worker 0", "worker 1"]
DIGIT = 0.002  # microseconds: the last digit is cut off


class Traces(RunTest):

    def run_to_the_end(self, *flags, **sections):
        """Runs a job of lenet5. Returns (stdout, summary)."""
        path = write_job(self.folder, job(self.data, **sections))
        code, out, err = self.tessera("run", path, *flags, timeout=120)
        self.assertEqual(code, 0, out + err)
        return out, read_summary(os.path.join(self.folder, "runs", "small"))

    def trace(self):
        return Trace(os.path.join(self.folder, "trace.json"))

    def traced_run(self, **sections):
        out, summary = self.run_to_the_end("--trace", "trace.json", **sections)
        self.assertIn("trace in trace.json", out)
        self.assertNotIn("lacks", out)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "runs", "small", "trace")), "the parts are left")
        return self.trace(), summary

    def test_every_process_is_there_with_all_layers(self):
        trace, summary = self.traced_run()
        self.assertEqual(sorted(trace.processes.values()), NODES)
        layers = collections.defaultdict(set)
        for span in trace.spans:
            layers[span.process.split()[0], span.kind].add(span.layer)
        for kind in ("wait", "forward", "backward", "push", "queue", "encode", "wire", "receive", "install"):
            self.assertLessEqual(set(LAYERS), layers["worker", kind], kind)
        for kind in ("receive", "reduce", "apply", "queue", "encode", "wire"):
            self.assertLessEqual(set(LAYERS), layers["server", kind], kind)
        for kind in ("load", "step", "evaluate"):
            self.assertIn(("worker", kind), layers)
        steps = set(range(summary["steps"]))
        for layer in LAYERS:
            for kind in ("backward", "apply"):
                self.assertEqual({span.clock for span in trace.select(kind, layer=layer)}, steps, (kind, layer))

    def test_spans_of_a_track_nest(self):
        trace, _ = self.traced_run()
        by_track = collections.defaultdict(list)
        for span in trace.spans:
            if span.kind not in ("queue", "wire"):  # which may overlap
                by_track[span.process, span.track].append(span)
        for spans in by_track.values():
            around = []
            for span in sorted(spans, key=lambda span: (span.begin, -span.end)):
                while around and around[-1].end <= span.begin:
                    around.pop()
                if around:
                    self.assertLessEqual(span.end, around[-1].end + DIGIT, (span, around[-1]))
                around.append(span)
        for span in trace.select("backward"):
            self.assertTrue(any(step.process == span.process and step.begin <= span.begin and
                                span.end <= step.end + DIGIT for step in trace.select("step", clock=span.clock)), span)

    def test_processes_are_on_one_clock(self):
        """A gradient leaves after its backward has begun, arrives, and only then is its version made, and sent."""
        trace, summary = self.traced_run(train={"batch_size": 32})
        wires = trace.select("wire", message="push")
        self.assertEqual({wire.clock for wire in wires}, set(range(summary["steps"])))
        for wire in wires:
            backward = [span for span in trace.select("backward", layer=wire.layer, clock=wire.clock)
                        if span.replicas()[0] in wire.replicas()]
            self.assertEqual(len(backward), 2, wire)
            self.assertLess(max(span.begin for span in backward), wire.begin, wire)
            apply = trace.select("apply", shard=wire.args["shard"], clock=wire.clock)
            self.assertEqual(len(apply), 1, wire)
            self.assertLess(wire.end, apply[0].end, wire)
            answers = trace.select("wire", message="weights", shard=wire.args["shard"], clock=wire.clock + 1)
            self.assertEqual(len(answers), 2, wire)
            for answer in answers:
                self.assertLess(apply[0].end, answer.begin + DIGIT, answer)
                self.assertEqual((answer.args["from"], answer.args["to"]), (apply[0].process, answer.process))

    def test_upper_layers_travel_while_lower_ones_compute(self):
        """Wait-free backpropagation, in some steps at least: a busy machine may keep a message from leaving."""
        trace, _ = self.traced_run(model="resnet20")
        below = collections.defaultdict(list)
        for span in trace.select("backward"):
            if span.layer.startswith("layer1."):
                below[span.process, span.clock].append(span)
        sent = [span for kind in ("queue", "wire") for span in trace.select(kind, message="push")
                if span.layer.startswith(("layer2.", "layer3.", "fc"))]
        overlaps = [span for span in sent
                    if any(span.meets(lower) for lower in below[span.args.get("from", span.process), span.clock])]
        print(f"  {len(overlaps)} of {len(sent)} spans of upper layers overlap the backward of lower ones", flush=True)
        self.assertTrue(overlaps)

    def test_the_weights_are_the_same_traced_or_not(self):
        _, traced = self.traced_run(model="resnet20")
        _, plain = self.run_to_the_end(model="resnet20")
        self.assertEqual(traced["weights_digest"], plain["weights_digest"])

    def test_a_server_that_was_killed_is_missed_by_name(self):
        run = self.endless_run("--trace", "trace.json", "--no-restart")
        os.kill(run.child("tessera-server").pid, signal.SIGKILL)
        run.wait_for_log("training goes on")
        run.process.send(signal.SIGINT)
        self.assertEqual(run.process.wait(), 130)
        self.assertRegex(run.process.out, r"the trace lacks server \d, which left none or not all of it\n")
        self.assertTrue(self.trace().select("backward"))

    def test_an_interrupted_run_leaves_its_trace(self):
        run = self.endless_run("--trace", "trace.json")
        run.process.send(signal.SIGINT)
        self.assertEqual(run.process.wait(), 130)
        self.assertEqual(sorted(self.trace().processes.values()), NODES)

    def test_what_does_not_fit_on_the_disk_is_kept_by_node(self):
        path = write_job(self.folder, job(self.data))
        code, _, err = self.tessera("run", path, "--trace", "/dev/full", timeout=120)
        self.assertEqual(code, 1)
        parts = os.path.join("runs", "small", "trace")
        self.assertEqual(err, f"tessera: cannot write /dev/full; each node's own trace is in {parts}\n")
        for part in glob.glob(os.path.join(self.folder, parts, "*")):
            with open(part, encoding="utf-8") as file:
                self.assertTrue(json.load(file), part)
        self.assertEqual(len(os.listdir(os.path.join(self.folder, parts))), len(NODES))

    def test_a_file_that_cannot_be_written_is_refused_at_the_start(self):
        path = write_job(self.folder, job(self.data))
        code, out, err = self.tessera("run", path, "--trace", "nowhere/trace.json")
        self.assertEqual((code, out), (2, ""))
        self.assertEqual(err, "tessera: cannot write nowhere/trace.json: No such file or directory\n")
        self.assertFalse(os.path.exists(os.path.join(self.folder, "runs")))
