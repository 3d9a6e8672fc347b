"""What people and files get wrong: one clear line, the right exit code."""

import os
import re
import socket

from harness import data_set, programs
from harness.case import SystemTest
from harness.job import job, write_job, yaml_text
from harness.process import finish, lines_of
from harness.results import read_summary

USAGE = 2
FAILED = 1


class BadJobs(SystemTest):
    """Each bad job file, at everything that reads one."""

    def assert_refused(self, content, *patterns):
        """The coordinator, `config check` and `run` exit with 2 and one line that matches all patterns."""
        path = write_job(self.folder, content, "bad.yaml")
        for command in (["tessera-coordinator", "--config", path], ["tessera", "config", "check", path],
                        ["tessera", "run", path]):
            with self.subTest(command=command[:-1]):
                arguments = [programs.path(command[0]), *command[1:]]
                code, out, err = finish(arguments, self.folder, cwd=self.folder)
                self.assertEqual(code, USAGE, out + err)
                lines = lines_of(err)
                self.assertEqual(len(lines), 1, err)
                for pattern in patterns:
                    self.assertRegex(lines[0], pattern)
                self.assertFalse(os.path.exists(os.path.join(self.folder, "runs", "small")), "a run's folder")

    def edited(self, old, new):
        """The good job's text with one replacement."""
        text = yaml_text(job(self.data))
        self.assertEqual(text.count(old), 1, text)
        return text.replace(old, new)

    def test_the_job_they_are_made_of_is_good(self):
        path = write_job(self.folder, job(self.data))
        code, out, err = finish([programs.path("tessera"), "config", "check", path], self.folder)
        self.assertEqual((code, err), (0, ""), out)

    def test_unknown_key(self):
        self.assert_refused("job: { name: small }\nmodel: lenet5\nclutser:\n  servers: 1\n",
                            r"bad\.yaml:3:1: ", "clutser", r"`?cluster`?")

    def test_unknown_inner_key(self):
        self.assert_refused(self.edited("batch_size:", "batchsize:"), r"bad\.yaml:4:\d+: ", "batchsize",
                            "batch_size")

    def test_unknown_option_of_the_optimizer(self):
        self.assert_refused(self.edited("weight_decay:", "weigth_decay:"), r"bad\.yaml:4:\d+: ",
                            "weigth_decay", "weight_decay")

    def test_duplicate_key(self):
        self.assert_refused(yaml_text(job(self.data)) + "model: resnet20\n", r"bad\.yaml:\d+:1: ", "model",
                            "twice|duplicate|again")

    def test_wrong_type(self):
        self.assert_refused(self.edited("epochs: 1", "epochs: many"), r"bad\.yaml:4:\d+: ", "epochs", "many")

    def test_out_of_range(self):
        self.assert_refused(self.edited("replicas: 4", "replicas: 0"), r"bad\.yaml:4:\d+: ", "replicas")

    def test_not_yaml(self):
        self.assert_refused("job: { name: small\n", r"bad\.yaml:\d+:\d+: ")

    def test_unknown_model(self):
        self.assert_refused(job(self.data, model="lenet6"), r"bad\.yaml:2:\d+: ", "lenet6", "lenet5")

    def test_features_that_are_not_built_are_refused_by_name(self):
        self.assert_refused(job(self.data, device="cuda"), r"bad\.yaml:\d+:\d+: ", "cuda")

    def test_backups_that_the_servers_can_never_hold(self):
        cluster = {"servers": 2, "server_backups": 2}
        self.assert_refused(job(self.data, cluster=cluster), r"bad\.yaml:\d+:\d+: ", "server_backups",
                            "at least 3 servers")

    def test_shapes_that_cannot_agree_name_the_layer(self):
        layers = [{"name": "wide", "type": "conv2d", "out_channels": 4, "kernel": 40},
                  {"name": "flat", "type": "flatten"},
                  {"name": "last", "type": "linear", "out_features": 10}]
        self.assert_refused(job(self.data, model={"layers": layers}), r"bad\.yaml:2:\d+: ", "`?wide`?")

    def test_missing_data_set(self):
        self.assert_refused(job(os.path.join(self.folder, "absent")), r"bad\.yaml:3:\d+: ", "absent",
                            "train-images-idx3-ubyte")

    def test_missing_data_set_names_its_package(self):
        # The package's folder by a way that does not exist, whether or not it is installed.
        path = "/usr/share/datasets/fashion-mnist/absent/.."
        self.assert_refused(job(path), r"bad\.yaml:3:\d+: ", "apt-get install dataset-fashion-mnist")

    def damaged_data(self, name, change):
        folder = data_set.write_data_set(os.path.join(self.new_folder(), "data"), train=64, test=20)
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            content = file.read()
        data_set.write(folder, name, change(content))
        return folder

    def test_truncated_idx_file(self):
        folder = self.damaged_data("train-images-idx3-ubyte", lambda content: content[:-100])
        self.assert_refused(job(folder), "train-images-idx3-ubyte", "truncated")

    def test_foreign_idx_file(self):
        folder = self.damaged_data("t10k-labels-idx1-ubyte", lambda content: b"\x89PNG" + content[4:])
        self.assert_refused(job(folder), "t10k-labels-idx1-ubyte", "not an IDX file")

    def test_images_and_labels_of_different_number(self):
        folder = self.damaged_data("train-labels-idx1-ubyte", lambda _: data_set.idx_labels([0] * 63))
        self.assert_refused(job(folder), "64 images", "63 labels")

    def test_missing_job_file(self):
        for command in (["tessera-coordinator", "--config"], ["tessera", "run"],
                        ["tessera", "config", "check"], ["tessera", "config", "show"]):
            with self.subTest(command=command):
                code, _, err = finish([programs.path(command[0]), *command[1:], "absent.yaml"], self.folder)
                self.assertEqual(code, USAGE, err)
                self.assertEqual(len(lines_of(err)), 1, err)
                self.assertIn("absent.yaml", err)


class BadCommandLines(SystemTest):

    def assert_line(self, command, code, *patterns):
        result, _, err = finish([programs.path(command[0]), *command[1:]], self.folder, cwd=self.folder)
        self.assertEqual(result, code, err)
        self.assertEqual(len(lines_of(err)), 1, err)
        for pattern in patterns:
            self.assertRegex(err, pattern)

    def test_unknown_flag(self):
        path = write_job(self.folder, job(self.data))
        for command in (["tessera-coordinator", "--config", path], ["tessera", "run", path],
                        ["tessera-server", "--coordinator", "127.0.0.1:1"],
                        ["tessera-worker", "--coordinator", "127.0.0.1:1"]):
            with self.subTest(command=command[0]):
                self.assert_line([*command, "--absent"], USAGE, "--absent")

    def test_wrong_plans_of_faults(self):
        path = write_job(self.folder, job(self.data))
        for plan, pattern in (("kil server:1 @step 4", "--chaos:1:1: .*`kill`"), ("kill server:7 @step 4", "--chaos:1:6: "),
                              ("@none.txt", "none.txt")):
            with self.subTest(plan=plan):
                self.assert_line(["tessera", "run", path, "--chaos", plan], USAGE, pattern)

    def test_bad_setting(self):
        path = write_job(self.folder, job(self.data))
        self.assert_line(["tessera", "run", path, "--set", "train.epoch=3"], USAGE, r"train\.epoch\b",
                         "epochs")
        self.assert_line(["tessera", "run", path, "--workers", "0"], USAGE, "workers")

    def test_taken_port(self):
        path = write_job(self.folder, job(self.data))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            for command in (["tessera-coordinator", "--config", path],
                            ["tessera-server", "--coordinator", "127.0.0.1:1"]):
                with self.subTest(command=command[0]):
                    self.assert_line([*command, "--bind", address], FAILED, re.escape(address), "in use")


class Divergence(SystemTest):

    def test_nan_ends_the_run_with_layer_and_step(self):
        path = write_job(self.folder, job(self.data, train={"optimizer": {"lr": "1e6"}}))
        cluster = self.cluster(path, 2, 2).start(2, 2)
        self.assert_all_exit(cluster, FAILED)
        message = read_summary(cluster.run_folder)["message"]
        self.assertRegex(message, r"worker \d .*step \d+ .*layer `\w+`.* not finite")
        self.assertEqual(lines_of(cluster.coordinator.err), ["tessera-coordinator: " + message])
        self.assertEqual(read_summary(cluster.run_folder)["status"], "failed")
