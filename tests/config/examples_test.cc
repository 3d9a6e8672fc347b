// Every job in config/examples loads, and comes back from its text.
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "config/job_loader.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

std::vector<std::string> Examples() {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(TESSERA_SOURCE_DIR "/config/examples")) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

class Example : public ::testing::TestWithParam<std::string> {};

TEST_P(Example, LoadsAndComesBackFromItsText) {
  const absl::StatusOr<JobSpec> job = LoadJobFile(GetParam(), {});
  ASSERT_TRUE(job.ok()) << job.status();
  const absl::StatusOr<JobSpec> again = LoadJobText(FormatJob(*job), "again", {});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(FormatJob(*again), FormatJob(*job));
}

// A run's folder and the example that people look for have one name.
TEST_P(Example, IsNamedAsItsFile) {
  const absl::StatusOr<JobSpec> job = LoadJobFile(GetParam(), {});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->name + ".yaml", std::filesystem::path(GetParam()).filename());
}

INSTANTIATE_TEST_SUITE_P(All, Example, ::testing::ValuesIn(Examples()), [](const auto& info) {
  std::string name = std::filesystem::path(info.param).stem().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(FashionLenet, IsTheMainJob) {
  const absl::StatusOr<JobSpec> job =
      LoadJobFile(TESSERA_SOURCE_DIR "/config/examples/fashion-lenet.yaml", {});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->model.name, "lenet5");
  EXPECT_EQ(job->train.replicas, 4);
  EXPECT_EQ(job->train.batch_size, 64);
  EXPECT_EQ(job->train.epochs, 7);
  EXPECT_EQ(job->cluster.servers, 2);
  EXPECT_EQ(job->cluster.workers, 2);
}

}  // namespace
}  // namespace tessera
