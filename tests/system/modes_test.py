"""The modes of consistency, with real daemons: a user changes one setting."""

import os

from harness.job import job, write_job
from harness.process import lines_of
from harness.results import read_summary
from harness.run import RunTest

STEPS = 2 * 32  # 2 epochs of 512 images, 4 replicas of 4 images
REPLICAS = 4


class Modes(RunTest):

    def run_mode(self, *settings, flags=()):
        """Trains with `settings` on the command line; returns (summary, output)."""
        # A rate at which also gradients that are a few versions old converge under momentum.
        path = write_job(self.folder, job(self.data, train={"epochs": 2, "optimizer": {"lr": 0.005}}))
        code, out, err = self.tessera("run", path, *(f"--set={setting}" for setting in settings), *flags, timeout=120)
        self.assertEqual((code, err), (0, ""), out)
        return read_summary(os.path.join(self.folder, "runs", "small")), out

    def check_exactly_once(self, summary, group):
        """Every minibatch of every replica was applied once on every shard, and the training was of use."""
        self.assertEqual(summary["steps"], STEPS)
        self.assertEqual(summary["updates_per_shard"], STEPS * REPLICAS // group)
        self.assertEqual(summary["applied_minibatches"], {"min": STEPS, "max": STEPS})
        self.assertEqual(summary["dropped"], 0)
        self.assertGreater(summary["test_accuracy"], 0.5)

    def test_sync_is_never_stale(self):
        summary, _ = self.run_mode()
        self.check_exactly_once(summary, group=REPLICAS)
        self.assertEqual(summary["staleness"], {"mean": 0, "p50": 0, "p99": 0, "max": 0, "bound": 0, "clock_lead": 0})

    def test_async_is_stale_and_says_how_much(self):
        for flags in ((), ("--workers", "4"), ("--workers", "1", "--servers", "3")):
            summary, out = self.run_mode("train.consistency.mode=async", flags=flags)
            self.check_exactly_once(summary, group=1)
            self.assertEqual(summary["mode"], "async")
            self.assertGreater(summary["staleness"]["mean"], 0)
            self.assertIsNone(summary["staleness"]["bound"])
            self.assertIn("staleness", out)

    def test_ssp_keeps_its_bounds(self):
        for staleness, versions in ((0, 3), (3, 21)):
            summary, _ = self.run_mode("train.consistency.mode=ssp", f"train.consistency.staleness={staleness}",
                                       flags=("--workers", "4"))
            self.check_exactly_once(summary, group=1)
            self.assertEqual(summary["staleness"]["bound"], versions)
            self.assertLessEqual(summary["staleness"]["max"], versions)
            self.assertLessEqual(summary["staleness"]["clock_lead"], staleness)

    def test_grouped_updates_once_for_each_group_and_mixed_is_its_other_name(self):
        for name in ("grouped", "mixed"):
            summary, _ = self.run_mode(f"train.consistency.mode={name}", "train.consistency.group=2")
            self.check_exactly_once(summary, group=2)
            self.assertEqual(summary["mode"], "grouped")

    def test_corrections_train(self):
        for correction in ("scale", "delay_compensated"):
            summary, _ = self.run_mode("train.consistency.mode=async",
                                       f"train.consistency.staleness_correction={correction}")
            self.check_exactly_once(summary, group=1)

    def test_dropped_minibatches_are_counted(self):
        summary, _ = self.run_mode("train.consistency.drop_stragglers=1", flags=("--workers", "4"))
        self.assertEqual((summary["steps"], summary["updates_per_shard"]), (STEPS, STEPS))
        self.assertEqual(summary["staleness"]["max"], 0)
        self.assertLessEqual(summary["applied_minibatches"]["max"], STEPS)
        if summary["dropped"] == 0:
            self.assertEqual(summary["applied_minibatches"]["min"], STEPS)
        self.assertGreater(summary["test_accuracy"], 0.5)

    def test_a_mode_that_cannot_be_is_one_line(self):
        path = write_job(self.folder, job(self.data))
        for setting, words in (("mode=asink", "async"), ("staleness=3", "sync"), ("mode=grouped", "group"),
                               ("drop_stragglers=4", "drop_stragglers")):
            code, out, err = self.tessera("run", path, "--set", f"train.consistency.{setting}")
            self.assertEqual((code, len(lines_of(err))), (2, 1), out + err)
            self.assertIn(words, err)
