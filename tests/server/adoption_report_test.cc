// When a server says that it has adopted a map.
#include "server/adoption_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <vector>

#include "tests/server/test_store.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
constexpr NodeId kBackup = 5;

class Ignored : public ForwardSink {
 public:
  void Add(ShardForward) override {}
  void Flush(ShardId) override {}
};

class AdoptionReportTest : public ::testing::Test {
 protected:
  AdoptionReportTest() {
    auto options = StoreOptions({.replicas = 1, .group = 1}, "sgd", {{"lr", "1"}});
    options.forwards = std::make_shared<Ignored>();
    store_ = ParameterStore::Create(options, TestLayout(kLength, 1 << 20), {kWeights, kStatistics}).value();
  }

  // The primary of both shards, one of which has a backup.
  void HaveBackup(int64_t term) {
    ASSERT_TRUE(store_->SetDuties(term, {{kWeights, {.backups = {kBackup}}}, {kStatistics, {}}}).ok());
  }
  static wire::ClusterMap Map(int64_t term) {
    wire::ClusterMap map;
    map.set_term(term);
    return map;
  }

  std::shared_ptr<ParameterStore> store_;
  std::vector<int64_t> terms_;
  AdoptionReport report_{[this](const wire::ClusterMap& map) { terms_.push_back(map.term()); }};
};

TEST_F(AdoptionReportTest, WithoutShardsOrBackupsAMapIsAdoptedAtOnce) {
  report_.Begin(Map(1), nullptr);
  report_.Begin(Map(2), store_);
  EXPECT_THAT(terms_, ElementsAre(1, 2));
}

TEST_F(AdoptionReportTest, IsWithheldUntilTheBackupHasWhatWasReleased) {
  HaveBackup(1);
  report_.Begin(Map(1), store_);
  report_.OnOpen();
  EXPECT_THAT(terms_, IsEmpty()) << "an heir could lack what workers have read";
  ASSERT_TRUE(store_->OnHas(kWeights, kBackup, 0).ok());
  report_.OnOpen();
  EXPECT_THAT(terms_, ElementsAre(1));
}

TEST_F(AdoptionReportTest, TellsEachMapOnce) {
  report_.Begin(Map(1), store_);
  report_.OnOpen();
  report_.OnOpen();
  EXPECT_THAT(terms_, ElementsAre(1));
}

TEST_F(AdoptionReportTest, SkipsAMapThatAnotherFollows) {
  HaveBackup(1);
  report_.Begin(Map(1), store_);
  report_.Begin(Map(2), store_);
  ASSERT_TRUE(store_->OnHas(kWeights, kBackup, 0).ok());
  report_.OnOpen();
  EXPECT_THAT(terms_, ElementsAre(2));
}

TEST_F(AdoptionReportTest, TellsNothingOnceStopped) {
  HaveBackup(1);
  report_.Begin(Map(1), store_);
  report_.Stop();
  ASSERT_TRUE(store_->OnHas(kWeights, kBackup, 0).ok());
  report_.OnOpen();
  report_.Begin(Map(2), nullptr);
  EXPECT_THAT(terms_, IsEmpty());
}

}  // namespace
}  // namespace tessera
