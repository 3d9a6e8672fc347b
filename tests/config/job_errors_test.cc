// What a wrong job file is told: one line, with the position and what would be right.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/config/job_text.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// The error of kSmallJob with `line` behind, which is line 7.
std::string ErrorOfLine(const std::string& line) { return ErrorOf(SmallJobWith(line + "\n")); }

// The error of kSmallJob with `train` extended by `line`.
std::string ErrorInTrain(const std::string& line) { return ErrorOfLine("  " + line); }

TEST(JobErrors, UnknownKeyNamesTheNearest) {
  EXPECT_EQ(ErrorInTrain("bach_size: 64"),
            "bad.yaml:7:3: unknown key `bach_size` in `train`; did you mean `batch_size`?");
  EXPECT_EQ(ErrorOfLine("clutser: {}"), "bad.yaml:7:1: unknown key `clutser`; did you mean `cluster`?");
  EXPECT_EQ(ErrorOfLine("device: { kind: cpu, thread: 2 }"),
            "bad.yaml:7:22: unknown key `thread` in `device`; did you mean `threads`?");
  EXPECT_EQ(ErrorOf("job: { name: x, colour: red }\n"),
            "bad.yaml:1:17: unknown key `colour` in `job` (known: name, seed)");
}

TEST(JobErrors, PathIsNoKey) {
  EXPECT_THAT(ErrorOfLine("train.epochs: 1"), StartsWith("bad.yaml:7:1: unknown key `train.epochs`"));
  EXPECT_THAT(ErrorOfLine("'': 1"), StartsWith("bad.yaml:7:1: unknown key ``"));
  EXPECT_THAT(ErrorOfLine("<<: 1"), StartsWith("bad.yaml:7:1: unknown key `<<`"));
}

TEST(JobErrors, WrongTypeSaysWhatIsExpectedAndFound) {
  EXPECT_EQ(ErrorInTrain("epochs: five"), "bad.yaml:7:11: `train.epochs` takes a whole number, found `five`");
  EXPECT_EQ(ErrorInTrain("epochs: [5]"), "bad.yaml:7:11: `train.epochs` takes a whole number, found a list");
  EXPECT_EQ(ErrorInTrain("epochs: {}"), "bad.yaml:7:11: `train.epochs` takes a whole number, found a map");
  EXPECT_EQ(ErrorInTrain("epochs:"), "bad.yaml:7:3: `train.epochs` takes a whole number, found nothing");
  EXPECT_EQ(ErrorInTrain("epochs: '5'"),
            "bad.yaml:7:11: `train.epochs` takes a whole number, found the string \"5\"");
  EXPECT_EQ(ErrorInTrain("deterministic: yes"),
            "bad.yaml:7:18: `train.deterministic` takes true or false, found `yes`");
  EXPECT_EQ(ErrorOf("job: { name: [x] }\n"), "bad.yaml:1:14: `job.name` takes a text, found a list");
}

TEST(JobErrors, OnlyPlainDigitsAreAWholeNumber) {
  for (const char* text : {"0x10", "1e3", "5.0", "1_000", "+5", "nan", ".inf", "--1", "5 6", "0o7"}) {
    EXPECT_THAT(ErrorInTrain(std::string("epochs: ") + text), HasSubstr("takes a whole number, found `"))
        << text;
  }
}

TEST(JobErrors, OutOfRangeSaysTheRange) {
  EXPECT_EQ(ErrorInTrain("epochs: 0"), "bad.yaml:7:11: `train.epochs` is `0`, it must be from 1 to 100000");
  EXPECT_EQ(ErrorInTrain("batch_size: -64"),
            "bad.yaml:7:15: `train.batch_size` is `-64`, it must be from 1 to 65536");
  EXPECT_THAT(ErrorInTrain("epochs: 99999999999999999999999"), HasSubstr("it must be from 1 to 100000"));
  EXPECT_THAT(ErrorOf("job: { name: x, seed: -1 }\n"), HasSubstr("must be from 0 to 18446744073709551615"));
  EXPECT_THAT(ErrorOf("job: { name: x, seed: 18446744073709551616 }\n"), HasSubstr("must be from 0 to"));
  EXPECT_EQ(ErrorInTrain("replicas: 0"), "bad.yaml:7:13: `train.replicas` is `0`, it must be from 1 to 4096");
}

TEST(JobErrors, SizesAndTimesNeedTheirUnits) {
  EXPECT_THAT(ErrorOfLine("cluster: { shard_bytes: 1 parsec }"),
              StartsWith("bad.yaml:7:25: `cluster.shard_bytes`: `1 parsec` is no size"));
  EXPECT_THAT(ErrorOfLine("cluster: { shard_bytes: -1MiB }"), HasSubstr("negative"));
  EXPECT_THAT(ErrorOfLine("cluster: { shard_bytes: 99999999999TiB }"), HasSubstr("is no size"));
  EXPECT_EQ(ErrorOfLine("cluster: { shard_bytes: 1GiB }"),
            "bad.yaml:7:25: `cluster.shard_bytes` is `1GiB`, it must be from 64B to 16MiB");
  EXPECT_THAT(ErrorOfLine("cluster: { lease: 3 }"),
              StartsWith("bad.yaml:7:19: `cluster.lease`: `3` has no unit"));
  EXPECT_THAT(ErrorOfLine("cluster: { lease: -3s }"), HasSubstr("negative"));
  EXPECT_THAT(ErrorOfLine("cluster: { lease: inf }"), StartsWith("bad.yaml:7:19: `cluster.lease`"));
  EXPECT_EQ(ErrorOfLine("cluster: { lease: 1ms }"),
            "bad.yaml:7:19: `cluster.lease` is `1ms`, it must be from 100ms to 10m");
  EXPECT_THAT(ErrorOfLine("cluster: { lease: [3s] }"), HasSubstr("takes a time as `3s`, found a list"));
}

TEST(JobErrors, MissingKeyIsNamedAtItsMap) {
  EXPECT_EQ(ErrorOf("model: lenet5\n"), "bad.yaml:1:1: missing `job`");
  EXPECT_EQ(ErrorOf("job: { seed: 1 }\n"), "bad.yaml:1:6: missing `name` in `job`");
  EXPECT_EQ(ErrorOf("job: {name: x}\nmodel: m\ndata:\n  normalize: measured\n"),
            "bad.yaml:4:3: missing `train` in `data`");
  EXPECT_EQ(ErrorOf("job: {name: x}\nmodel: m\ndata: { train: { path: x } }\n"),
            "bad.yaml:3:16: missing `format` in `data.train`");
  EXPECT_EQ(ErrorOf("job: {name: x}\nmodel: m\ndata: { train: { format: idx } }\ntrain: { epochs: 1 }\n"),
            "bad.yaml:4:8: missing `optimizer` in `train`");
  EXPECT_EQ(ErrorOfLine("cluster:"),
            "bad.yaml:7:1: `cluster` takes a map (of coordinator, servers, workers, shard_bytes, lease, "
            "shared_memory, server_backups), found nothing");
}

TEST(JobErrors, ModelHasANameOrLayers) {
  const std::string rest = "job: {name: x}\ndata: {train: {format: idx}}\ntrain: {optimizer: {name: sgd}}\n";
  EXPECT_EQ(ErrorOf(rest + "model: {}\n"), "bad.yaml:4:8: `model` needs a `name` or `layers`");
  EXPECT_EQ(ErrorOf(rest + "model: { name: a, layers: [{type: relu}] }\n"),
            "bad.yaml:4:8: `model` takes a `name` or `layers`, not both");
  EXPECT_EQ(ErrorOf(rest + "model: { layers: [{type: relu}], width: 2 }\n"),
            "bad.yaml:4:41: unknown key `width` in `model` (known: layers, weights, replace)");
  EXPECT_EQ(ErrorOf(rest + "model: { layer: [{type: relu}] }\n"),
            "bad.yaml:4:10: unknown key `layer` in `model`; did you mean `layers`?");
  EXPECT_EQ(ErrorOf(rest + "model: { layers: [] }\n"),
            "bad.yaml:4:18: `model.layers` takes a list of layers, found a list");
  EXPECT_EQ(ErrorOf(rest + "model: { layers: [relu] }\n"),
            "bad.yaml:4:19: `model.layers[0]` takes a map such as { type: relu }, found `relu`");
  EXPECT_EQ(ErrorOf(rest + "model: { layers: [{type: relu}, {name: x}] }\n"),
            "bad.yaml:4:33: missing `type` in `model.layers[1]`");
  EXPECT_EQ(ErrorOf(rest + "model: { layers: [{type: relu, inputs: {}}] }\n"),
            "bad.yaml:4:40: `model.layers[0].inputs` takes the names of earlier layers, found a map");
  EXPECT_EQ(ErrorOf(rest + "model: [lenet5]\n"),
            "bad.yaml:4:8: `model` takes a map (of name, layers, weights, replace), found a list");
}

TEST(JobErrors, ReplaceIsAListOfNamesBesideWeights) {
  const auto error = [](const std::string& model) {
    return ErrorOf("job: {name: x}\ndata: {train: {format: idx}}\ntrain: {optimizer: {name: sgd}}\nmodel: " +
                   model + "\n");
  };
  EXPECT_EQ(error("{ name: a, weights: w, replace: fc }"), "loaded");
  EXPECT_EQ(error("{ layers: [{type: relu}], weights: w, replace: [fc] }"), "loaded");
  EXPECT_EQ(error("{ name: a, replace: [fc] }"),
            "bad.yaml:4:28: `model.replace` says what `model.weights` does not fill, and there is none: "
            "leave it out");
  EXPECT_EQ(error("{ name: a, weights: [w] }"), "bad.yaml:4:28: `model.weights` takes a text, found a list");
  EXPECT_EQ(error("{ name: a, weights: '' }"), "bad.yaml:4:28: `model.weights` is empty");
  EXPECT_EQ(error("{ name: a, weights: w, replace: [] }"),
            "bad.yaml:4:40: `model.replace` takes the names of layers, found a list");
  EXPECT_EQ(error("{ name: a, weights: w, replace: [{}] }"),
            "bad.yaml:4:41: `model.replace` takes a text, found a map");
}

TEST(JobErrors, ClipNormIsANumber) {
  EXPECT_EQ(ErrorInTrain("clip_norm: tight"),
            "bad.yaml:7:14: `train.clip_norm` takes a number, found `tight`");
  EXPECT_EQ(ErrorInTrain("clip_norm: -1"),
            "bad.yaml:7:14: `train.clip_norm` is `-1`, it must be from 0 to 1e+06");
  EXPECT_EQ(ErrorInTrain("clip_norm: .inf"), "bad.yaml:7:14: `train.clip_norm` takes a number, found `.inf`");
}

TEST(JobErrors, OptionsAreValuesOrListsOfValues) {
  EXPECT_EQ(ErrorOfLine("device: cpu\ncluster: {}\nmodel2: x"),
            "bad.yaml:9:1: unknown key `model2`; did you mean `model`?");
  EXPECT_EQ(ErrorInTrain("schedule: { name: cosine, steps: { a: 1 } }"),
            "bad.yaml:7:36: `steps` in `train.schedule` takes a value or a list of values, found a map");
  EXPECT_EQ(
      ErrorInTrain("schedule: { name: cosine, steps: [[1]] }"),
      "bad.yaml:7:36: `steps` in `train.schedule` takes a value or a list of values, found a list of other "
      "things");
  EXPECT_THAT(ErrorInTrain("schedule: { name: cosine, steps: }"), HasSubstr("found nothing"));
  EXPECT_THAT(ErrorInTrain("schedule: cosine"),
              StartsWith("bad.yaml:7:13: `train.schedule` takes a map (of name), found `cosine`"));
}

TEST(JobErrors, NormalizeIsMeasuredOrComplete) {
  const auto error = [](const std::string& normalize) {
    return ErrorOf("data: { normalize: " + normalize + " }\n");
  };
  EXPECT_EQ(error("guessed"),
            "bad.yaml:1:20: `data.normalize` takes `measured` or a map of `mean` and `std`, found `guessed`");
  EXPECT_EQ(error("{ mean: [0] }"), "bad.yaml:1:20: missing `std` in `data.normalize`");
  EXPECT_EQ(error("{ mean: [0], sdt: [1] }"),
            "bad.yaml:1:33: unknown key `sdt` in `data.normalize`; did you mean `std`?");
  EXPECT_EQ(error("{ mean: [0, 1], std: [1] }"),
            "bad.yaml:1:20: `data.normalize` has 2 means and 1 standard deviations");
  EXPECT_EQ(error("{ mean: [0], std: [0] }"),
            "bad.yaml:1:39: `data.normalize.std` is `0`, it must be from 1e-06 to 1000");
  for (const char* text : {"nan", ".nan", "0x10", "inf", "one", "'1'", "[1]", "~"}) {
    EXPECT_THAT(error(std::string("{ mean: [") + text + "], std: [1] }"), HasSubstr("takes numbers, found"))
        << text;
  }
  for (const char* text : {"1e400", "-1e400"}) {
    EXPECT_THAT(error(std::string("{ mean: [") + text + "], std: [1] }"),
                HasSubstr("must be from -1000 to 1000"))
        << text;
  }
}

TEST(JobErrors, NamesAndAddressesAreChecked) {
  for (const char* name : {"..", ".hidden", "a/b", "'a b'", "-x", "stra\xC3\x9F"}) {
    EXPECT_THAT(ErrorOf(std::string("job: { name: ") + name + " }\n"),
                StartsWith("bad.yaml:1:14: `job.name`: a name has letters, digits"))
        << name;
  }
  EXPECT_EQ(ErrorOf("job: { name: '' }\n"), "bad.yaml:1:14: `job.name` is empty");
  EXPECT_THAT(ErrorOf("job: { name: " + std::string(101, 'a') + " }\n"), HasSubstr("at most 100"));
  for (const char* address :
       {"localhost", ":1", "'h:'", "h:x", "h:65536", "h:-1", "::1:70", "'h :1'", "'[]:1'"}) {
    EXPECT_THAT(ErrorOfLine(std::string("cluster: { coordinator: ") + address + " }"),
                StartsWith("bad.yaml:7:25: `cluster.coordinator`: an address is HOST:PORT"))
        << address;
  }
}

TEST(JobErrors, WhatIsNotBuiltIsRefusedByName) {
  for (const char* device : {"cuda", "cuda:0", "auto"}) {
    EXPECT_EQ(ErrorOfLine(std::string("device: ") + device),
              std::string("bad.yaml:7:9: `device.kind: ") + device + "` is not built yet");
  }
}

TEST(JobErrors, ServerBackupsAreFewerThanServers) {
  EXPECT_EQ(
      ErrorOfLine("cluster: { servers: 2, server_backups: 2 }"),
      "bad.yaml:7:40: `cluster.server_backups` is 2, but a shard and its backups are on different servers, "
      "and `cluster.servers` is 2: it must be less, or take at least 3 servers");
  EXPECT_EQ(ErrorOfLine("cluster: { servers: 2, server_backups: 1 }"), "loaded");
  EXPECT_EQ(ErrorOfLine("cluster: { servers: 1, server_backups: 0 }"), "loaded");
  EXPECT_EQ(
      ErrorOf(SmallJobWith("cluster: { servers: 3, server_backups: 1 }"), {{"cluster.servers", "1"}}),
      "bad.yaml:7:40: `cluster.server_backups` is 1, but a shard and its backups are on different servers, "
      "and `cluster.servers` is 1: it must be less, or take at least 2 servers");
  EXPECT_EQ(ErrorOfLine("cluster: { servers: 20, server_backups: 9 }"),
            "bad.yaml:7:41: `cluster.server_backups` is `9`, it must be from 0 to 8");
  EXPECT_THAT(ErrorOfLine("cluster: { server_backups: none }"),
              HasSubstr("takes a whole number, found `none`"));
  EXPECT_THAT(ErrorOfLine("cluster: { server_backups: -1 }"), HasSubstr("it must be from 0"));
}

TEST(JobErrors, ServerBackupsDoNotGoWithAStateThatTheyDoNotHave) {
  const std::string cluster = "cluster: { servers: 2, server_backups: 1 }";
  const std::string compensated =
      "  consistency: { mode: async, staleness_correction: delay_compensated, dc_adaptive: ";
  EXPECT_EQ(ErrorOf(SmallJobWith(compensated + "true }\n" + cluster)),
            "bad.yaml:8:40: `cluster.server_backups` is 1, but `train.consistency.dc_adaptive` keeps a mean "
            "square that backups do not have: leave one of them out");
  EXPECT_EQ(ErrorOf(SmallJobWith(compensated + "false }\n" + cluster)), "loaded");
}

TEST(JobErrors, UnknownWordNamesTheNearest) {
  EXPECT_EQ(
      ErrorInTrain("consistency: { mode: snyc }"),
      "bad.yaml:7:24: `train.consistency.mode` takes sync or async or ssp or grouped or mixed, found `snyc`; "
      "did you mean `sync`?");
  EXPECT_EQ(ErrorOfLine("device: tpu"),
            "bad.yaml:7:9: `device.kind` takes cpu or reference, found `tpu`; did you mean `cpu`?");
}

TEST(JobErrors, ReferenceDeviceHasOneThread) {
  EXPECT_EQ(ErrorOfLine("device: { kind: reference, threads: 2 }"),
            "bad.yaml:7:37: `device.threads` is 2, but the device `reference` has one");
}

TEST(JobErrors, FileIsAMap) {
  EXPECT_EQ(ErrorOf(""), "bad.yaml:1:1: the file is empty: it holds no job");
  EXPECT_EQ(ErrorOf("# nothing\n"), "bad.yaml:1:1: the file is empty: it holds no job");
  EXPECT_EQ(
      ErrorOf("- job\n"),
      "bad.yaml:1:1: a job is a map (of job, model, data, train, cluster, checkpoint, device), found a list");
  EXPECT_THAT(ErrorOf("hello\n"), HasSubstr("found `hello`"));
  EXPECT_THAT(ErrorOf("hello\n", {{"train.epochs", "1"}}), HasSubstr("found `hello`"));
  EXPECT_THAT(ErrorOf("\x7f"
                      "ELF\x01\x02"),
              StartsWith("bad.yaml:1:1: not a text"));
}

TEST(JobErrors, OverridesStandAtTheirKey) {
  EXPECT_EQ(ErrorOf(kSmallJob, {{"train.epochs", "many"}}),
            "--set train.epochs: `train.epochs` takes a whole number, found `many`");
  EXPECT_EQ(ErrorOf(kSmallJob, {{"train.epochs", ""}}),
            "--set train.epochs: `train.epochs` takes a whole number, found nothing");
  EXPECT_EQ(ErrorOf(kSmallJob, {{"train.epoch", "1"}}),
            "--set train.epoch: unknown key `epoch` in `train`; did you mean `epochs`?");
  EXPECT_THAT(ErrorOf(kSmallJob, {{"tarin.epochs", "1"}}),
              StartsWith("--set tarin.epochs: unknown key `tarin`; did you mean `train`?"));
  EXPECT_EQ(ErrorOf(kSmallJob, {{"data.test.path", "/x"}}),
            "--set data.test.path: missing `format` in `data.test`");
  EXPECT_THAT(ErrorOf(kSmallJob, {{"cluster.server_backups", "1"}}),
              StartsWith("--set cluster.server_backups: `cluster.server_backups` is 1, but a shard"));
  EXPECT_EQ(ErrorOf(kSmallJob, {{"job.name", "[a"}}),
            "--set job.name: not YAML: end of sequence flow not found");
}

TEST(JobErrors, OverridesGoThroughMapsOnly) {
  EXPECT_EQ(ErrorOf(kSmallJob, {{"job.name.first", "x"}}),
            "--set job.name.first: `job.name` is no map, it is `small`");
  EXPECT_EQ(ErrorOf(kSmallJob, {{"train.optimizer", "[a]"}, {"train.optimizer.lr", "1"}}),
            "--set train.optimizer.lr: `train.optimizer` is no map, it is a list");
  for (const char* key : {"", ".", "train.", "train..epochs", "train epochs", "train.epochs\n"}) {
    EXPECT_THAT(ErrorOf(kSmallJob, {{key, "1"}}), HasSubstr("a key is like `train.epochs`")) << key;
  }
}

TEST(JobErrors, BrokenWorkersOfTheFileAreNotHiddenByAnOverride) {
  EXPECT_EQ(ErrorOf(SmallJobWith("cluster: { workers: none }\n"), {{"cluster.workers", "2"}}),
            "bad.yaml:7:21: `cluster.workers` takes a whole number, found `none`");
}

TEST(JobErrors, HugeTextIsClippedInMessages) {
  const std::string error = ErrorInTrain("epochs: " + std::string(100'000, 'x'));
  EXPECT_LT(error.size(), 200u);
  EXPECT_THAT(ErrorInTrain(std::string(1000, 'x') + ": 1"), HasSubstr("xxx...` in `train`"));
}

}  // namespace
}  // namespace tessera
