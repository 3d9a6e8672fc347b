// Every target over its corpus, and over so many mutations of it that a run takes a second or two. An input
// that ends the program is in corpus/NAME once it has been mended; script/fuzz looks for more.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "common/random.h"
#include "tests/fuzz/mutation.h"
#include "tests/fuzz/target.h"

namespace tessera {
namespace {

constexpr int kMutations = 3000;
constexpr size_t kMostBytes = 4096;

// Sorted by name of the file.
std::vector<FuzzInput> CorpusOf(const std::string& target) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(TESSERA_SOURCE_DIR "/tests/fuzz/corpus/") + target)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<FuzzInput> inputs;
  for (const std::filesystem::path& path : paths) {
    std::ifstream file(path, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

class Fuzz : public testing::TestWithParam<std::string> {
 protected:
  // What ends the program is left in the file that the test names at its start.
  void Run(const FuzzInput& input) {
    // On the heap and no longer than it is, so that AddressSanitizer sees a read behind its end.
    const FuzzInput exact(input.begin(), input.end());
    std::ofstream(last_, std::ios::binary)
        .write(reinterpret_cast<const char*>(exact.data()), std::ssize(exact));
    FuzzTarget::All().at(GetParam())(exact);
  }

  void SetUp() override { std::cout << "the input under way is in " << last_ << std::endl; }
  void TearDown() override { std::filesystem::remove(last_); }

  const std::string last_ = testing::TempDir() + "fuzz_" + GetParam() + "_" + std::to_string(getpid());
  const std::vector<FuzzInput> corpus_ = CorpusOf(GetParam());
};

TEST_P(Fuzz, TakesTheCorpus) {
  ASSERT_GE(corpus_.size(), 3U);
  for (const FuzzInput& input : corpus_) {
    EXPECT_LE(input.size(), kMostBytes);
    Run(input);
  }
}

TEST_P(Fuzz, TakesMutationsOfTheCorpus) {
  ASSERT_FALSE(corpus_.empty());
  for (int index = 0; index < kMutations; ++index) {
    const auto seed = static_cast<uint32_t>(HashName(GetParam())) + static_cast<uint32_t>(index);
    std::mt19937 random(seed);
    Run(Mutated(corpus_, kMostBytes, random));
  }
}

std::vector<std::string> Targets() {
  std::vector<std::string> names;
  for (const auto& [name, run] : FuzzTarget::All()) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Targets, Fuzz, testing::ValuesIn(Targets()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tessera
