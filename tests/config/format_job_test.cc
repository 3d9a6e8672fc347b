#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/config/job_text.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

JobSpec Load(const std::string& text) {
  absl::StatusOr<JobSpec> job = LoadJobText(text, "job.yaml", {});
  EXPECT_TRUE(job.ok()) << job.status() << "\n" << text;
  return job.ok() ? *std::move(job) : JobSpec();
}

// FormatJob writes every member, so that two jobs are equal when their texts are.
void ExpectRoundTrip(const JobSpec& job) {
  const std::string text = FormatJob(job);
  EXPECT_EQ(FormatJob(Load(text)), text);
}

TEST(FormatJob, WritesEveryField) {
  EXPECT_EQ(FormatJob(Load(kSmallJob)), R"(job:
  name: small
  seed: 1
model:
  name: lenet5
data:
  normalize: measured
  train: {format: idx, path: /data, split: train}
  augment: {flip: false, crop_padding: 0}
train:
  replicas: 1
  batch_size: 64
  epochs: 1
  clip_norm: 0
  deterministic: true
  optimizer: {name: sgd, lr: 0.1}
  schedule: {name: constant}
  consistency: {mode: sync, group: 1, staleness: 0, drop_stragglers: 0, staleness_correction: none, lr_scaling: linear}
cluster:
  coordinator: 127.0.0.1:7070
  servers: 1
  workers: 1
  shard_bytes: 512KiB
  lease: 3s
  shared_memory: true
  server_backups: 0
checkpoint:
  every: 1 epoch
  keep: 3
device:
  kind: cpu
  threads: 1
)");
}

TEST(FormatJob, FieldsKeepTheirValues) {
  JobSpec job = Load(kSmallJob);
  job.name = "other";
  job.seed = 18446744073709551615u;
  job.model.options = {{"width", "2"}};
  job.model.weights = "runs/a b/model.safetensors";
  job.model.replace = {"fc", "layer4.1"};
  job.data.test = NamedOptions{.name = "idx", .options = {{"path", "/t"}}};
  job.data.normalize = {.measured = false, .mean = {0.1, 1.0 / 3}, .std = {1e-5, 2}};
  job.train.replicas = 8;
  job.train.batch_size = 3;
  job.train.epochs = 5;
  job.train.schedule = {.name = "cosine", .options = {{"warmup", "1 epoch"}}};
  job.train.clip_norm = 0.1;
  job.train.deterministic = false;
  job.train.consistency = {.mode = "ssp",
                           .group = 1,
                           .staleness = 5,
                           .staleness_correction = "delay_compensated",
                           .dc_lambda = 2.5,
                           .dc_adaptive = false,
                           .lr_scaling = "none"};
  job.cluster = {.coordinator = "[::1]:0",
                 .servers = 3,
                 .workers = 4,
                 .shard_bytes = 1000,
                 .lease = absl::Milliseconds(1500),
                 .shared_memory = false,
                 .server_backups = 2};
  job.checkpoint = {.dir = "/mnt/all see", .unit = CheckpointSpec::Unit::kSteps, .count = 200, .keep = 7};
  job.device = {.kind = "cpu", .threads = 2};
  const std::string text = FormatJob(job);
  for (const char* part : {"name: other",
                           "seed: 18446744073709551615",
                           "width: 2",
                           "weights: runs/a b/model.safetensors",
                           "replace: [fc, layer4.1]",
                           "test: {format: idx, path: /t}",
                           "replicas: 8",
                           "clip_norm: 0.1",
                           "mode: ssp, group: 1, staleness: 5",
                           "staleness_correction: delay_compensated",
                           "dc_lambda: 2.5, dc_adaptive: false, lr_scaling: none",
                           "batch_size: 3",
                           "epochs: 5",
                           "schedule: {name: cosine, warmup: 1 epoch}",
                           "deterministic: false",
                           "servers: 3",
                           "workers: 4",
                           "shard_bytes: 1KB",
                           "lease: 1.5s",
                           "server_backups: 2",
                           "dir: /mnt/all see",
                           "every: 200 steps",
                           "keep: 7",
                           "threads: 2"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  const JobSpec again = Load(text);
  EXPECT_EQ(again.data.normalize.mean, job.data.normalize.mean);
  EXPECT_EQ(again.data.normalize.std, job.data.normalize.std);
  EXPECT_EQ(again.cluster.coordinator, "[::1]:0");
  EXPECT_EQ(again.cluster.lease, job.cluster.lease);
  EXPECT_FALSE(again.cluster.shared_memory);
  EXPECT_EQ(again.cluster.server_backups, 2);
  ExpectRoundTrip(job);
}

TEST(FormatJob, EveryModeComesBackFromItsText) {
  for (const char* consistency :
       {"mode: sync", "mode: sync, drop_stragglers: 2", "mode: async",
        "mode: async, staleness_correction: scale", "mode: async, staleness_correction: delay_compensated",
        "mode: ssp", "mode: ssp, staleness: 0", "mode: grouped, group: 2",
        "mode: mixed, group: 4, staleness: 7", "mode: grouped, group: 1, lr_scaling: none",
        "mode: ssp, staleness_correction: delay_compensated, dc_lambda: 0, dc_adaptive: true"}) {
    ExpectRoundTrip(Load(absl::StrCat(kSmallJob, "  replicas: 4\n  consistency: { ", consistency,
                                      " }\ncluster: { workers: 4 }\n")));
  }
}

TEST(FormatJob, LayersKeepNamesInputsAndOptions) {
  JobSpec job = Load(kSmallJob);
  job.model = {.layers = {{.name = "conv1", .type = "conv2d"},
                          {.type = "add", .inputs = {"conv1", "image"}},
                          {.type = "concat", .inputs = {"a, b", "c: d"}}}};
  job.model.layers[0].options.Set("kernel", {std::vector<std::string>{"3", "5"}, ""});
  job.model.layers[0].options.Set("note", {std::string("{ not: a map }"), ""});
  const JobSpec again = Load(FormatJob(job));
  ASSERT_EQ(again.model.layers.size(), 3u);
  EXPECT_EQ(again.model.layers[0].name, "conv1");
  EXPECT_EQ(again.model.layers[0].options.values().at("kernel").value,
            job.model.layers[0].options.values().at("kernel").value);
  EXPECT_EQ(again.model.layers[0].options.values().at("note").value,
            job.model.layers[0].options.values().at("note").value);
  EXPECT_EQ(again.model.layers[1].name, "");
  EXPECT_THAT(again.model.layers[2].inputs, ElementsAre("a, b", "c: d"));
  ExpectRoundTrip(job);
}

TEST(FormatJob, OptionsThatNeedQuotesKeepTheirText) {
  for (const std::string text :
       {"",     " ",   "a: b", "a #b", "~",  "null", "[x", "{x}", "'",   "\"",
        "\\n",  "- a", "*a",   "&a",   "!a", "%a",   "@a", "a,b", "# a", "path with spaces/ß",
        "true", "0x10"}) {
    JobSpec job = Load(kSmallJob);
    job.data.train.options.Set("path", {text, ""});
    job.data.train.options.Set("list", {std::vector<std::string>{text, text}, ""});
    job.data.train.options.Set("a key: of its own", {text, ""});
    const JobSpec again = Load(FormatJob(job));
    for (const auto& [key, option] : job.data.train.options.values()) {
      ASSERT_TRUE(again.data.train.options.Has(key)) << FormatJob(job);
      EXPECT_EQ(again.data.train.options.values().at(key).value, option.value) << FormatJob(job);
    }
    ExpectRoundTrip(job);
  }
}

}  // namespace
}  // namespace tessera
