// Random plans of faults, each a pure function of its seed.
#pragma once

#include <cstdint>

#include "cli/chaos_plan.h"

namespace tessera::cli {

// What a random plan is for.
struct ChaosJob {
  ChaosCluster cluster;
  int64_t steps = 0;       // minibatches of each replica; at least 1
  int server_backups = 0;  // of each shard
};

// 2 to 5 faults: any process killed, stopped for up to three seconds or restarted, connections cut, messages
// dropped. Each is due within the first three quarters of the job, so that it has the time to fire. At most
// one node is dead until a later restart, and only where another one of its kind can do its work: so training
// always reaches the next fault's step. With backups, only as many servers are struck as a shard has backups,
// each maybe more than once: nothing that is promised to outlive them is lost. The same plan for the same
// seed and job, on every machine.
ChaosPlan RandomChaosPlan(uint64_t seed, const ChaosJob& job);

}  // namespace tessera::cli
