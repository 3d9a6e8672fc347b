"""Whatever dies, stops or is lost: the run ends with the weights of an undisturbed one."""

import glob
import os
import re
import signal

from harness.case import SystemTest
from harness.chaos import INTERVAL, Trial, injected, line_of, run
from harness.process import Process, children_of, lines_of, wait_until, wait_until_gone
from harness.results import read_summary
from harness import programs


class ChaosTest(SystemTest):
    """One undisturbed run for all tests of a class."""

    mode = "sync"
    backups = 0

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        home = os.path.join(cls.root, f"{cls.mode}-{cls.backups}")
        os.makedirs(home)
        cls.trial = Trial(home, cls.data, cls.mode, cls.backups)
        cls.trial.undisturbed()

    def play(self, plan, seed=1):
        plan, result, found = self.trial.play(seed, plan, self.id().rpartition(".")[2])
        print("  " + line_of(seed, plan, result, found), flush=True)
        self.assertEqual(found, [], f"{plan}\n{result.out[-3000:]}")
        return result


class RandomPlans(ChaosTest):

    def test_plans_end_with_the_same_weights(self):
        for seed in range(1, 6):
            with self.subTest(seed=seed):
                self.play("random", seed)


class RandomPlansWithBackups(ChaosTest):

    backups = 1

    def test_plans_end_with_the_same_weights_and_nothing_goes_back(self):
        for seed in range(1, 11):
            with self.subTest(seed=seed):
                self.assertEqual(self.play("random", seed).summary["rewinds"], 0)


class RandomPlansWithBackupsOfAsynchronousModes(ChaosTest):

    mode = "async"
    backups = 1

    def test_plans_apply_every_minibatch_once(self):
        for seed in (1, 2):
            with self.subTest(seed=seed):
                self.assertEqual(self.play("random", seed).summary["rewinds"], 0)


class RandomPlansOfAsynchronousModes(ChaosTest):

    mode = "ssp"

    def test_plans_apply_every_minibatch_once(self):
        for seed in (1, 2):
            with self.subTest(seed=seed):
                self.play("random", seed)


class ScriptedFaults(ChaosTest):

    def test_killed_worker(self):
        result = self.play("kill worker:1 @step 25")
        self.assertEqual(result.summary["rewinds"], 0)
        self.assertLessEqual(result.summary["recomputed_steps"], 1)

    def test_worker_that_comes_back_costs_no_step(self):
        result = self.play("kill worker:1 @step 15; restart worker:1 @step 30")
        self.assertEqual(result.summary["rewinds"], 0)
        self.assertLessEqual(result.summary["recomputed_steps"], 1, "the death's")
        self.assertIn("handover", [event["what"] for event in result.summary["events"]])

    def test_killed_server_goes_back_to_the_newest_checkpoint(self):
        result = self.play("kill server:0 @step 35")
        self.assertGreaterEqual(result.summary["rewinds"], 1)
        rewinds = [event["message"] for event in result.summary["events"] if event["what"] == "rewind"]
        self.assertRegex(rewinds[0], r"step [1-9]\d*, the checkpoint")

    def test_killed_coordinator_costs_no_step(self):
        result = self.play("kill coordinator @step 25")
        self.assertEqual(result.summary["recomputed_steps"], 0)
        self.assertIn("coordinator was started again", result.out)

    def test_all_are_killed_in_turn(self):
        self.play("kill worker:0 @step 10; kill server:0 @step 20; kill coordinator @step 30; "
                  "kill server:1 @step 40; kill worker:2 @step 50")

    def test_stopped_node_that_wakes_after_its_lease_joins_again(self):
        self.play("stop worker:1 @step 20 for 3s; stop server:0 @step 40 for 3s")

    def test_node_stays_dead_until_the_plan_starts_it(self):
        result = self.play("kill server:1 @step 15; restart server:1 @step 45")
        killed, restarted = injected(result.summary)
        self.assertGreaterEqual(restarted["step"], 45)
        self.assertEqual(killed["pid"], restarted["pid"], "nobody ran there in between")

    def test_lost_messages_and_cut_connections(self):
        self.play("drop 2%; cut 1%")

    def test_slow_worker(self):
        self.play("slow worker:1 4x")

    def test_same_seed_is_the_same_plan(self):
        plans = []
        for _ in range(2):
            folder = self.new_folder()
            process = Process("tessera-run", [programs.path("tessera"), "run", self.trial.job_path, "--chaos", "random",
                                              "--chaos-seed", "7"], folder, folder)
            self.addCleanup(process.end)
            found = wait_until(lambda: re.search(r"^chaos, seed 7: (.*)$", process.out, re.MULTILINE), "the plan")
            process.end()
            plans.append(found.group(1))
        self.assertEqual(plans[0], plans[1])

    def test_fault_that_never_fires_fails_the_run_by_name(self):
        folder = self.new_folder()
        result = run(folder, self.trial.job_path, "--chaos", "kill worker:0 @step 1000")
        self.assertEqual(result.code, 1)
        self.assertEqual(len(lines_of(result.err)), 1, result.err)
        self.assertIn("kill worker:0 @step 1000", result.err)
        self.assertEqual(result.summary["status"], "done")
        self.assertEqual(result.summary["weights_digest"], self.trial.digest)


class FaultsWithBackups(ChaosTest):

    backups = 1

    def test_killed_server_costs_no_way_back(self):
        result = self.play("kill server:0 @step 25")
        self.assertEqual(result.summary["rewinds"], 0)
        self.assertEqual(result.summary["recomputed_steps"], 0)

    def test_primary_that_wakes_after_its_lease_changes_nothing_and_joins_again(self):
        result = self.play("slow worker:0 6x; stop server:0 @step 20 for 2s")
        self.assertEqual(result.summary["rewinds"], 0)
        self.assertEqual(result.summary["recomputed_steps"], 0)
        self.assertEqual([event["what"] for event in result.summary["events"]
                          if event["what"] in ("death", "takeover", "moved")], ["death", "takeover", "moved"])


class PowerCutTest(ChaosTest):
    """The base of tests in which all processes of a run die at once, and it goes on later."""

    def setUp(self):
        super().setUp()
        self.run_folder = os.path.join(self.folder, "runs", "small")

    def cut_the_power(self, after_step, *flags):
        """Runs until a checkpoint at `after_step` or later is whole, then kills the command and all its children."""
        process = Process("tessera-run", [programs.path("tessera"), "run", self.trial.job_path, *flags], self.folder,
                          self.folder)
        self.addCleanup(process.end)
        wait_until(lambda: self.newest_step() >= after_step, lambda: f"a checkpoint: {process.out}\n{process.err}")
        children = children_of(process.pid)
        process.send(signal.SIGKILL)
        process.wait()
        wait_until_gone(children)

    def checkpoints(self):
        """The folders of whole checkpoints, oldest first."""
        manifests = glob.glob(os.path.join(self.run_folder, "checkpoints", "*", "manifest.json"))
        return sorted((os.path.dirname(path) for path in manifests), key=self.step_of)

    @staticmethod
    def step_of(folder):
        return int(re.findall(r"\d+", os.path.basename(folder))[-1])

    def newest_step(self):
        return max((self.step_of(folder) for folder in self.checkpoints()), default=0)

    def resume(self, *flags):
        return run(self.folder, self.trial.job_path, "--resume", *flags)

    def check_resume(self, *flags):
        """It goes on from the newest checkpoint, with `flags`, to the weights of an undisturbed run."""
        newest = self.newest_step()
        result = self.resume(*flags)
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(result.summary["weights_digest"], self.trial.digest)
        self.assertGreaterEqual(result.summary["resumed_from_step"], newest)
        self.assertRegex(result.out, r"resumed from +step \d+")


class PowerCut(PowerCutTest):

    def test_run_goes_on_with_fewer_nodes(self):
        self.cut_the_power(20)
        self.check_resume("--servers", "1", "--workers", "2")

    def test_run_goes_on_with_more_nodes(self):
        self.cut_the_power(20)
        self.check_resume("--servers", "3", "--workers", "4")

    def test_damaged_newest_checkpoint_is_passed_over_by_name(self):
        self.cut_the_power(30)
        newest = self.checkpoints()[-1]
        shards = sorted(glob.glob(os.path.join(newest, "*.safetensors")))
        with open(shards[0], "r+b") as file:
            file.seek(-5, os.SEEK_END)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        result = self.resume()
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(result.summary["weights_digest"], self.trial.digest)
        self.assertEqual(result.summary["resumed_from_step"], self.step_of(newest) - INTERVAL)
        said = [event["message"] for event in result.summary["events"] if event["what"] == "warning"]
        self.assertTrue(any(os.path.basename(shards[0]) in message for message in said), said)

    def test_there_must_be_a_run_to_resume(self):
        result = self.resume()
        self.assertEqual(result.code, 2)
        self.assertIn("runs/small", result.err)
        self.assertEqual(len(lines_of(result.err)), 1, result.err)

    def test_finished_run_is_not_resumed(self):
        self.assertEqual(run(self.folder, self.trial.job_path).code, 0)
        before = read_summary(self.run_folder)
        result = self.resume()
        self.assertEqual(result.code, 2)
        self.assertIn("finished", result.err)
        self.assertEqual(read_summary(self.run_folder), before)

    def test_changed_maths_is_refused_by_key(self):
        self.cut_the_power(10)
        result = self.resume("--set", "train.optimizer.lr=0.5")
        self.assertNotEqual(result.code, 0)
        self.assertIn("train.optimizer", result.err)


class PowerCutWithBackups(PowerCutTest):

    backups = 1

    def test_run_goes_on_with_fewer_servers_and_more_workers(self):
        self.cut_the_power(20, "--servers", "3", "--workers", "1")
        self.check_resume("--servers", "2", "--workers", "4")

    def test_run_goes_on_with_more_servers_and_fewer_workers(self):
        self.cut_the_power(20)
        self.check_resume("--servers", "4", "--workers", "1")

    def test_run_goes_on_with_one_server_and_no_backups(self):
        self.cut_the_power(20)
        self.check_resume("--servers", "1", "--set", "cluster.server_backups=0")
