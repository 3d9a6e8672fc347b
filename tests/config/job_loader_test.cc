#include "config/job_loader.h"

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/config/job_text.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

JobSpec Load(const std::string& text, const std::vector<Override>& overrides = {}) {
  absl::StatusOr<JobSpec> job = LoadJobText(text, "job.yaml", overrides);
  EXPECT_TRUE(job.ok()) << job.status();
  return job.ok() ? *std::move(job) : JobSpec();
}

std::string WriteTemporary(const std::string& name, const std::string& text) {
  const std::string path = ::testing::TempDir() + name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

TEST(JobLoader, LeavesWhatIsNotSaidToDefaults) {
  const JobSpec job = Load(kSmallJob);
  EXPECT_EQ(job.name, "small");
  EXPECT_EQ(job.seed, 1u);
  EXPECT_EQ(job.model.name, "lenet5");
  EXPECT_TRUE(job.data.normalize.measured);
  EXPECT_FALSE(job.data.augment.flip);
  EXPECT_EQ(job.data.augment.crop_padding, 0);
  EXPECT_FALSE(job.data.test.has_value());
  EXPECT_EQ(job.train.replicas, 1);
  EXPECT_EQ(job.train.batch_size, 64);
  EXPECT_EQ(job.train.schedule.name, "constant");
  EXPECT_EQ(job.model.weights, "");
  EXPECT_THAT(job.model.replace, IsEmpty());
  EXPECT_EQ(job.train.clip_norm, 0);
  EXPECT_EQ(job.train.consistency.mode, "sync");
  EXPECT_EQ(job.train.consistency.staleness_correction, "none");
  EXPECT_EQ(job.train.consistency.lr_scaling, "linear");
  EXPECT_TRUE(job.train.deterministic);
  EXPECT_EQ(job.cluster.shard_bytes, 512 * 1024);
  EXPECT_EQ(job.cluster.lease, absl::Seconds(3));
  EXPECT_EQ(job.device.kind, "cpu");
}

TEST(JobLoader, ReadsEveryField) {
  const JobSpec job = Load(R"(
job: { name: all.of-it_1, seed: 18446744073709551615 }
model: { name: resnet20, width: 2, weights: start.safetensors, replace: [fc, conv1] }
data:
  train: { format: idx, path: /a, split: train }
  test: { format: idx, path: /b, split: test }
  normalize: { mean: [0.5, -1e-3], std: [0.25, 2] }
train:
  replicas: 6
  batch_size: 7
  epochs: 8
  optimizer: { name: sgd, lr: 0.1 }
  schedule: { name: cosine, warmup: 100 steps }
  clip_norm: 2.5
  consistency: { mode: grouped, group: 1, staleness: 9, drop_stragglers: 0, staleness_correction: delay_compensated,
                 dc_lambda: 0.5, dc_adaptive: false, lr_scaling: none }
  deterministic: false
cluster: { coordinator: '[::1]:0', servers: 2, workers: 3, server_backups: 1, shard_bytes: 1MiB,
           lease: 500ms }
device: { kind: cpu, threads: 4 }
)");
  EXPECT_EQ(job.name, "all.of-it_1");
  EXPECT_EQ(job.seed, 18446744073709551615u);
  EXPECT_EQ(job.model.name, "resnet20");
  EXPECT_TRUE(job.model.options.Has("width"));
  EXPECT_FALSE(job.model.options.Has("name"));
  EXPECT_FALSE(job.model.options.Has("weights"));
  EXPECT_EQ(job.model.weights, "start.safetensors");
  EXPECT_THAT(job.model.replace, ElementsAre("fc", "conv1"));
  EXPECT_EQ(job.data.train.name, "idx");
  ASSERT_TRUE(job.data.test.has_value());
  EXPECT_EQ(std::get<std::string>(job.data.test->options.values().at("path").value), "/b");
  EXPECT_FALSE(job.data.normalize.measured);
  EXPECT_THAT(job.data.normalize.mean, ElementsAre(0.5, -1e-3));
  EXPECT_THAT(job.data.normalize.std, ElementsAre(0.25, 2));
  EXPECT_EQ(job.train.replicas, 6);
  EXPECT_EQ(job.train.batch_size, 7);
  EXPECT_EQ(job.train.epochs, 8);
  EXPECT_EQ(job.train.optimizer.name, "sgd");
  EXPECT_EQ(job.train.schedule.name, "cosine");
  EXPECT_TRUE(job.train.schedule.options.Has("warmup"));
  EXPECT_EQ(job.train.clip_norm, 2.5);
  EXPECT_EQ(job.train.consistency.mode, "grouped");
  EXPECT_EQ(job.train.consistency.group, 1);
  EXPECT_EQ(job.train.consistency.staleness, 9);
  EXPECT_EQ(job.train.consistency.drop_stragglers, 0);
  EXPECT_EQ(job.train.consistency.staleness_correction, "delay_compensated");
  EXPECT_EQ(job.train.consistency.dc_lambda, 0.5);
  EXPECT_FALSE(job.train.consistency.dc_adaptive);
  EXPECT_EQ(job.train.consistency.lr_scaling, "none");
  EXPECT_FALSE(job.train.deterministic);
  EXPECT_EQ(job.cluster.coordinator, "[::1]:0");
  EXPECT_EQ(job.cluster.servers, 2);
  EXPECT_EQ(job.cluster.workers, 3);
  EXPECT_EQ(job.cluster.server_backups, 1);
  EXPECT_EQ(job.cluster.shard_bytes, 1 << 20);
  EXPECT_EQ(job.cluster.lease, absl::Milliseconds(500));
  EXPECT_EQ(job.device.threads, 4);
}

TEST(JobLoader, ReadsALayerList) {
  const JobSpec job = Load(
      "job: { name: layers }\n"
      "model:\n"
      "  layers:\n"
      "    - { name: conv1, type: conv2d, kernel: [3, 5] }\n"
      "    - { type: add, inputs: [conv1, image] }\n"
      "    - { type: relu, inputs: conv1 }\n"
      "data: { train: { format: idx } }\n"
      "train: { optimizer: { name: sgd } }\n");
  ASSERT_EQ(job.model.layers.size(), 3u);
  EXPECT_EQ(job.model.name, "");
  EXPECT_EQ(job.model.where, "job.yaml:4:5");
  const LayerOptions& conv = job.model.layers[0];
  EXPECT_EQ(conv.name, "conv1");
  EXPECT_EQ(conv.type, "conv2d");
  EXPECT_EQ(conv.where, "job.yaml:4:7");
  EXPECT_THAT(std::get<std::vector<std::string>>(conv.options.values().at("kernel").value),
              ElementsAre("3", "5"));
  EXPECT_EQ(conv.options.values().size(), 1u);
  EXPECT_EQ(job.model.layers[1].name, "");
  EXPECT_THAT(job.model.layers[1].inputs, ElementsAre("conv1", "image"));
  EXPECT_THAT(job.model.layers[2].inputs, ElementsAre("conv1"));
}

TEST(JobLoader, OptionsRememberTheirPositions) {
  JobSpec job = Load(kSmallJob);
  EXPECT_EQ(job.train.optimizer.where, "job.yaml:6:22");
  EXPECT_EQ(job.train.optimizer.options.RequiredNumber("lr", 1, 2).status().message(),
            "job.yaml:6:31: `lr` must be a number from 1 to 2, not `0.1`");
  EXPECT_EQ(job.train.optimizer.options.RequiredNumber("beta", 1, 2).status().message(),
            "job.yaml:6:14: missing `beta`");
}

TEST(JobLoader, ReplicasDefaultToTheFilesWorkers) {
  const std::string text = SmallJobWith("cluster: { workers: 4 }\n");
  EXPECT_EQ(Load(text).train.replicas, 4);
  const JobSpec fewer = Load(text, {{"cluster.workers", "2"}});
  EXPECT_EQ(fewer.cluster.workers, 2);
  EXPECT_EQ(fewer.train.replicas, 4);
  EXPECT_EQ(Load(text, {{"cluster", "{ workers: 2 }"}}).train.replicas, 4);
  EXPECT_EQ(Load(text, {{"train.replicas", "3"}}).train.replicas, 3);
  EXPECT_EQ(Load(kSmallJob, {{"cluster.workers", "5"}}).train.replicas, 1);
}

TEST(JobLoader, MoreWorkersThanReplicasIsNoError) {
  EXPECT_EQ(Load(SmallJobWith("cluster: { workers: 9 }\n"), {{"train.replicas", "2"}}).cluster.workers, 9);
}

TEST(JobLoader, DeviceMayBeASingleWord) {
  EXPECT_EQ(Load(SmallJobWith("device: reference\n")).device.kind, "reference");
  EXPECT_EQ(Load(SmallJobWith("device: cpu\n"), {{"device.threads", "2"}}).device.threads, 2);
}

TEST(JobLoader, OverridesReachFieldsOptionsAndSections) {
  const JobSpec job = Load(kSmallJob, {{"train.epochs", "3"},
                                       {"train.optimizer.lr", "0.5"},
                                       {"train.optimizer.weight_decay", "5e-4"},
                                       {"train.schedule.warmup", "10 steps"},
                                       {"data.train.path", "/elsewhere"},
                                       {"data.test", "{ format: idx, path: /t }"},
                                       {"data.test.split", "test"},
                                       {"data.normalize", "{ mean: [0], std: [1] }"},
                                       {"data.augment", "{ flip: true, crop_padding: 4 }"},
                                       {"cluster.coordinator", "host:1"}});
  const auto option = [](const NamedOptions& named, const std::string& key) {
    return std::get<std::string>(named.options.values().at(key).value);
  };
  EXPECT_EQ(job.train.epochs, 3);
  EXPECT_EQ(option(job.train.optimizer, "lr"), "0.5");
  EXPECT_EQ(option(job.train.optimizer, "weight_decay"), "5e-4");
  EXPECT_EQ(option(job.train.schedule, "warmup"), "10 steps");
  EXPECT_EQ(job.train.schedule.name, "constant");
  EXPECT_EQ(option(job.data.train, "path"), "/elsewhere");
  EXPECT_EQ(job.data.test->name, "idx");
  EXPECT_EQ(option(*job.data.test, "split"), "test");
  EXPECT_THAT(job.data.normalize.std, ElementsAre(1));
  EXPECT_TRUE(job.data.augment.flip);
  EXPECT_EQ(job.data.augment.crop_padding, 4);
  EXPECT_EQ(job.cluster.coordinator, "host:1");
  EXPECT_EQ(job.train.optimizer.options.values().at("lr").where, "--set train.optimizer.lr");
}

TEST(JobLoader, OverrideReplacesAWholeModelOrAddsToIt) {
  const JobSpec job = Load(kSmallJob, {{"model", "resnet20"}, {"model.width", "2"}});
  EXPECT_EQ(job.model.name, "resnet20");
  EXPECT_TRUE(job.model.options.Has("width"));
}

TEST(JobLoader, LaterOverrideWins) {
  EXPECT_EQ(Load(kSmallJob, {{"train.epochs", "3"}, {"train.epochs", "4"}}).train.epochs, 4);
  EXPECT_EQ(Load(kSmallJob, {{"train.epochs", "zero"}, {"train.epochs", "4"}}).train.epochs, 4);
}

TEST(JobLoader, OverrideMayGiveWhatTheFileLacks) {
  EXPECT_EQ(ErrorOf("model: lenet5\n",
                    {{"job.name", "made"}, {"data.train.format", "idx"}, {"train.optimizer.name", "sgd"}}),
            "loaded");
}

TEST(JobLoader, SplitsOverridesAtTheFirstEqualsSign) {
  const absl::StatusOr<Override> change = ParseOverride("data.train.path=/a=b");
  ASSERT_TRUE(change.ok());
  EXPECT_EQ(change->key, "data.train.path");
  EXPECT_EQ(change->value, "/a=b");
  EXPECT_EQ(ParseOverride("train.epochs").status().message(),
            "--set takes KEY=VALUE, as in train.epochs=1, not `train.epochs`");
  EXPECT_EQ(ParseOverride("=1").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseOverride("a=")->value, "");
}

TEST(JobLoader, ReadsAFileAndNamesItInPositions) {
  const std::string path = WriteTemporary("good.yaml", kSmallJob);
  const absl::StatusOr<JobSpec> job = LoadJobFile(path, {});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->train.optimizer.where, path + ":6:22");
}

TEST(JobLoader, SaysWhichFileCannotBeRead) {
  const absl::Status missing = LoadJobFile("/nowhere/job.yaml", {}).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("/nowhere/job.yaml"));
  const absl::Status folder = LoadJobFile(::testing::TempDir(), {}).status();
  EXPECT_EQ(folder.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(folder.message()), HasSubstr("not a regular file"));
}

TEST(JobLoader, RefusesALargeFileByItsSize) {
  const std::string path = WriteTemporary("large.yaml", std::string((1 << 20) + 1, '#'));
  const absl::Status status = LoadJobFile(path, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), path + ": 1048577 bytes are too many for a job (at most 1 MiB)");
  std::filesystem::resize_file(path, 1 << 20);
  EXPECT_THAT(std::string(LoadJobFile(path, {}).status().message()), HasSubstr("is empty"));
}

}  // namespace
}  // namespace tessera
