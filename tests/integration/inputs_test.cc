// Several inputs and augmented ones on a whole cluster: the same bits for any number of workers and servers.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "tests/common/temporary_folder.h"
#include "tests/integration/in_process_cluster.h"
#include "tests/integration/synthetic_job.h"
#include "tests/worker/data/npy_writer.h"

namespace tessera {
namespace {

constexpr int64_t kFeatures = 6, kChannels = 2, kSide = 5;

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  ASSERT_TRUE(file.good()) << path;
}

// `count` samples of four classes: a row under noise tells the halves of the classes apart, an image the odd
// ones from the even ones, so that neither alone is enough.
void WriteTwoInputs(const std::string& folder, int64_t count) {
  const RandomStream noise(7, RandomPurpose::kAugmentation);
  uint64_t draw = 0;
  const auto value = [&](bool high) { return (high ? 1.0F : 0.0F) + noise.Uniform(draw++); };
  std::vector<float> rows, images;
  std::vector<int64_t> labels;
  for (int64_t n = 0; n < count; ++n) {
    const auto label = static_cast<int64_t>(noise.Bits(draw++) % 4);
    labels.push_back(label);
    for (int64_t i = 0; i < kFeatures; ++i) rows.push_back(value((label < 2) == (i % 2 == 0)));
    for (int64_t c = 0; c < kChannels; ++c) {
      for (int64_t i = 0; i < kSide * kSide; ++i) images.push_back(value((label % 2 == 0) == (c == 0)));
    }
  }
  WriteFile(folder + "/rows.npy", Npy("<f4", {count, kFeatures}, rows));
  WriteFile(folder + "/images.npy", Npy("<f4", {count, kChannels, kSide, kSide}, images));
  WriteFile(folder + "/labels.npy", Npy("<i8", {count}, labels));
}

std::string TwoInputJobText(const std::string& folder, int replicas, const std::string& augment) {
  const std::string data =
      absl::StrCat("{ format: npy, inputs: [spectrum=", folder, "/rows.npy, height=", folder,
                   "/images.npy], labels: ", folder, "/labels.npy, part: 0.75, split: ");
  return absl::StrCat(R"(job: { name: two-inputs, seed: 3 }
model:
  layers:
    - { name: s1, type: linear, inputs: [spectrum], out_features: 8 }
    - { name: s2, type: relu }
    - { name: h1, type: conv2d, inputs: [height], out_channels: 8, kernel: 3, padding: 1 }
    - { name: h2, type: relu }
    - { name: h3, type: global_avg_pool }
    - { name: sum, type: add, inputs: [s2, h3] }
    - { name: fc, type: linear, out_features: 4 }
data:
  train: )",
                      data, "train }\n  test: ", data, "test }\n  augment: ", augment,
                      "\ntrain:\n  replicas: ", replicas,
                      R"(
  batch_size: 4
  epochs: 4
  optimizer: { name: momentum, lr: 0.05, momentum: 0.9 }
  consistency: { mode: sync }
cluster: { shard_bytes: 128B }
)");
}

InProcessResult Train(const SyntheticJob& job, int servers, int workers, uint64_t shuffle_seed) {
  InProcessOptions options;
  options.servers = servers;
  options.workers = workers;
  options.shuffle_seed = shuffle_seed;
  absl::StatusOr<InProcessResult> result = RunInProcess(job.plan, job.data, options);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *std::move(result) : InProcessResult();
}

// The digest of `job`, which is that of every cluster.
std::string DigestOnAnyCluster(const SyntheticJob& job) {
  const InProcessResult one = Train(job, 1, 1, 0);
  const std::string digest = WeightsDigest(one.tensors);
  for (const auto& [servers, workers, shuffle] : {std::tuple{2, 2, 0}, {3, 3, 11}, {1, 5, 12}, {2, 4, 13}}) {
    SCOPED_TRACE(testing::Message() << servers << " servers, " << workers << " workers, shuffle " << shuffle);
    const InProcessResult other = Train(job, servers, workers, static_cast<uint64_t>(shuffle));
    EXPECT_EQ(WeightsDigest(other.tensors), digest);
    EXPECT_EQ(other.evaluations.size(), one.evaluations.size());
    for (const auto& [clock, totals] : one.evaluations) {
      EXPECT_EQ(other.evaluations.at(clock).correct, totals.correct);
      EXPECT_EQ(other.evaluations.at(clock).loss_sum, totals.loss_sum);
    }
  }
  return digest;
}

class TwoInputs : public ::testing::Test {
 protected:
  TwoInputs() { WriteTwoInputs(folder_.path(), 400); }

  SyntheticJob Job(const std::string& augment = "{}") {
    absl::StatusOr<SyntheticJob> job = MakeSyntheticJob(TwoInputJobText(folder_.path(), 5, augment));
    EXPECT_TRUE(job.ok()) << job.status();
    return *std::move(job);
  }

  TemporaryFolder folder_;
};

TEST_F(TwoInputs, GiveTheSameBitsOnAnyCluster) {
  const SyntheticJob job = Job();
  EXPECT_EQ(job.plan.train_samples, 300);
  EXPECT_EQ(job.plan.test_samples, 100);
  DigestOnAnyCluster(job);
}

TEST_F(TwoInputs, AreBothLearnedFrom) {
  const InProcessResult result = Train(Job(), 1, 2, 0);
  ASSERT_FALSE(result.evaluations.empty());
  // One input alone tells two of four classes apart: 0.5.
  EXPECT_GT(result.evaluations.rbegin()->second.accuracy(), 0.9);
}

TEST_F(TwoInputs, AreAugmentedToTheSameBitsOnAnyCluster) {
  EXPECT_NE(DigestOnAnyCluster(Job("{ flip: true, crop_padding: 2 }")),
            WeightsDigest(Train(Job(), 1, 1, 0).tensors));
}

// Two epochs of the images of one input, so that a sample is drawn for more than once.
TEST(Augmented, GivesTheSameBitsOnAnyClusterAndOthersThanPlain) {
  const TemporaryFolder folder;
  constexpr int kReplicas = 3;
  ASSERT_TRUE(WriteSyntheticData(folder.path(), 5 * kReplicas * 4, 30).ok());
  const std::string plain = SyntheticJobText(folder.path(), "lenet5", kReplicas, 4, 1);
  const auto digest = [&](const std::string& augment) {
    std::string text = plain;
    text.replace(text.find("train:\n"), 0, absl::StrCat("  augment: ", augment, "\n"));
    text.replace(text.find("epochs: 1"), 9, "epochs: 2");
    const absl::StatusOr<SyntheticJob> job = MakeSyntheticJob(text);
    EXPECT_TRUE(job.ok()) << job.status();
    return DigestOnAnyCluster(*job);
  };
  const std::string none = digest("{}"), flip = digest("{ flip: true }"),
                    crop = digest("{ crop_padding: 4 }"), both = digest("{ flip: true, crop_padding: 4 }");
  EXPECT_NE(flip, none);
  EXPECT_NE(crop, none);
  EXPECT_NE(both, flip);
  EXPECT_NE(both, crop);
}

}  // namespace
}  // namespace tessera
