// Whatever happens to a job file, loading it ends in a job or in one line.
#include <fstream>
#include <random>
#include <sstream>

#include "config/job_loader.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

using ::testing::StartsWith;

constexpr int kMutants = 4000;

std::string ReadExample(const std::string& name) {
  std::ifstream file(TESSERA_SOURCE_DIR "/config/examples/" + name, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Changes a text at random places. std::mt19937's numbers are the same everywhere, unlike the distributions'.
class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  std::string Mutate(std::string text) {
    const uint32_t changes = 1 + Below(4);
    for (uint32_t i = 0; i < changes && !text.empty(); ++i) Change(text);
    return text;
  }

 private:
  uint32_t Below(size_t bound) { return static_cast<uint32_t>(random_() % bound); }

  void Change(std::string& text) {
    static constexpr char kMeaningful[] = "{}[],:-?&*!|>'\"%@`#~ \t\n\r.0123456789e";
    const uint32_t at = Below(text.size());
    switch (Below(6)) {
      case 0:
        text[at] = static_cast<char>(Below(256));
        return;
      case 1:
        text[at] = kMeaningful[Below(sizeof(kMeaningful) - 1)];
        return;
      case 2:
        text.insert(at, 1, kMeaningful[Below(sizeof(kMeaningful) - 1)]);
        return;
      case 3:
        text.erase(at, 1 + Below(20));
        return;
      case 4:
        text.insert(Below(text.size()), text.substr(at, 1 + Below(100)));
        return;
      default:
        if (Below(4) == 0) text.resize(at);
    }
  }

  std::mt19937 random_;
};

class MutatedJob : public ::testing::TestWithParam<const char*> {};

TEST_P(MutatedJob, LoadsOrGivesOneLine) {
  const std::string original = ReadExample(GetParam());
  Mutator mutator(20261121);
  int loaded = 0;
  for (int i = 0; i < kMutants; ++i) {
    const std::string text = mutator.Mutate(original);
    const absl::StatusOr<JobSpec> job = LoadJobText(text, "mutant.yaml", {});
    if (job.ok()) {
      ++loaded;
      const absl::StatusOr<JobSpec> again = LoadJobText(FormatJob(*job), "again", {});
      ASSERT_TRUE(again.ok()) << again.status() << "\n" << FormatJob(*job);
      ASSERT_EQ(FormatJob(*again), FormatJob(*job));
      continue;
    }
    const std::string message(job.status().message());
    ASSERT_EQ(job.status().code(), absl::StatusCode::kInvalidArgument) << message;
    ASSERT_THAT(message, StartsWith("mutant.yaml:"));
    ASSERT_EQ(message.find_first_of("\n\r"), std::string::npos) << message;
    ASSERT_LT(message.size(), 1000u) << message;
  }
  // Else the mutants would not show much.
  EXPECT_GT(loaded, kMutants / 20);
  EXPECT_LT(loaded, kMutants * 19 / 20);
}

TEST_P(MutatedJob, EveryBeginningLoadsOrGivesOneLine) {
  const std::string original = ReadExample(GetParam());
  for (size_t length = 0; length < original.size(); ++length) {
    const absl::StatusOr<JobSpec> job = LoadJobText(original.substr(0, length), "mutant.yaml", {});
    if (job.ok()) continue;
    const std::string message(job.status().message());
    ASSERT_THAT(message, StartsWith("mutant.yaml:"));
    ASSERT_EQ(message.find_first_of("\n\r"), std::string::npos) << message;
  }
}

INSTANTIATE_TEST_SUITE_P(Examples, MutatedJob, ::testing::Values("fashion-lenet.yaml", "fashion-layers.yaml"),
                         [](const auto& info) {
                           return std::string(info.param) == "fashion-lenet.yaml" ? "lenet" : "layers";
                         });

}  // namespace
}  // namespace tessera
