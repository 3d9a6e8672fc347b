#include "server/server_duties.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

void AddServer(wire::ClusterMap* map, NodeId node, const std::vector<ShardId>& shards,
               const std::vector<ShardId>& backups, const std::vector<ShardId>& copies = {}) {
  wire::ServerEntry* entry = map->add_servers();
  entry->set_node_id(node);
  entry->set_index(node - 10);
  entry->set_address("127.0.0.1:1");
  entry->mutable_shards()->Assign(shards.begin(), shards.end());
  entry->mutable_backups()->Assign(backups.begin(), backups.end());
  entry->mutable_copies()->Assign(copies.begin(), copies.end());
}

// Shards 0 to 3 on servers 10 and 11, one backup each; 12 is to get shards 1 and 2.
wire::ClusterMap Map() {
  wire::ClusterMap map;
  AddServer(&map, 10, {2, 0}, {1, 3});
  AddServer(&map, 11, {1, 3}, {0, 2});
  AddServer(&map, 12, {}, {}, {1, 2});
  return map;
}

TEST(ServerDuties, PrimaryKnowsWhoHoldsItsShardsAndWhoIsToGetThem) {
  const ServerDuties duties = DutiesFrom(Map(), 10);
  EXPECT_THAT(duties.primaries, ElementsAre(0, 2));
  EXPECT_THAT(duties.held, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(duties.copies, IsEmpty());
  ASSERT_EQ(duties.duties.size(), 4u);
  EXPECT_EQ(duties.duties.at(0).role, ShardRole::kPrimary);
  EXPECT_THAT(duties.duties.at(0).backups, ElementsAre(11));
  EXPECT_THAT(duties.duties.at(0).joining, IsEmpty());
  EXPECT_THAT(duties.duties.at(2).joining, ElementsAre(12));
  EXPECT_EQ(duties.duties.at(1).role, ShardRole::kBackup);
  EXPECT_THAT(duties.duties.at(1).backups, IsEmpty());
  ASSERT_EQ(duties.peers.size(), 2u);
  EXPECT_EQ(duties.peers[0].node_id, 11);
  EXPECT_EQ(duties.peers[0].name, "server 1 (127.0.0.1:1)");
  EXPECT_THAT(duties.peers[0].backups, ElementsAre(0, 2));
  EXPECT_THAT(duties.peers[0].joining, IsEmpty());
  EXPECT_THAT(duties.peers[1].joining, ElementsAre(2));
}

TEST(ServerDuties, ServerThatJoinsHoldsNothingYet) {
  const ServerDuties duties = DutiesFrom(Map(), 12);
  EXPECT_THAT(duties.held, IsEmpty());
  EXPECT_THAT(duties.copies, ElementsAre(1, 2));
  EXPECT_EQ(duties.duties.at(1).role, ShardRole::kBackup);
  EXPECT_THAT(duties.peers, IsEmpty());
  EXPECT_THAT(duties.primary_of, ElementsAre(10, 11, 10, 11));
}

TEST(ServerDuties, ServerThatTheMapDoesNotNameHasNone) {
  const ServerDuties duties = DutiesFrom(Map(), 13);
  EXPECT_THAT(duties.duties, IsEmpty());
  EXPECT_THAT(duties.peers, IsEmpty());
}

TEST(ServerDuties, ShardsWithoutAPrimaryAreNobodys) {
  wire::ClusterMap map;
  AddServer(&map, 10, {-1, 2, 2}, {});
  const ServerDuties duties = DutiesFrom(map, 10);
  EXPECT_THAT(duties.primary_of, ElementsAre(ServerDuties::kNobody, ServerDuties::kNobody, 10));
  EXPECT_THAT(duties.primaries, ElementsAre(2));
}

}  // namespace
}  // namespace tessera
