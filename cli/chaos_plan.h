// A plan of faults that `tessera run --chaos` injects, and its text:
//   kill server:1 @step 40; stop worker:0 @step 60 for 5s; restart server:1 @step 90; drop 2%; cut 1%;
//   slow worker:1 4x
// Statements are separated by `;`, words by white space; `#` starts a comment that ends with the line. A node
// is `coordinator`, `server:I` or `worker:I`, I being the place it was started at.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cli/place.h"

namespace tessera::cli {

// What is done to one process once every shard has applied `step` minibatches of every replica.
struct ChaosFault {
  enum class Kind {
    kKill,    // SIGKILL
    kStop,    // SIGSTOP, and SIGCONT after `pause`
    kRestart  // SIGKILL if it lives, then started at once
  };
  Kind kind = Kind::kKill;
  Place place;
  int64_t step = 0;
  absl::Duration pause;  // kStop
};

// A worker that takes `factor` times as long for every minibatch.
struct ChaosSlowdown {
  int worker = 0;
  double factor = 1;
};

struct ChaosPlan {
  std::vector<ChaosFault> faults;  // in the plan's order
  std::vector<ChaosSlowdown> slowdowns;
  double drop_percent = 0;  // of messages that are lost
  double cut_percent = 0;   // of messages after which the connection breaks
};

// The nodes that a plan may name.
struct ChaosCluster {
  int servers = 1;
  int workers = 1;
};

// `source` stands for the text in errors: "--chaos", or a file's name.
// Errors: kInvalidArgument, "SOURCE:LINE:COLUMN: ..." with the nearest right word where there is one: not the
// grammar, a node that the cluster does not have, a value out of range, the same given twice.
absl::StatusOr<ChaosPlan> ParseChaosPlan(absl::string_view text, absl::string_view source,
                                         const ChaosCluster& cluster);

// Text that parses to the same plan; one line.
std::string FormatChaosPlan(const ChaosPlan& plan);
std::string FormatChaosFault(const ChaosFault& fault);  // "kill server:1 @step 40"
std::string FormatChaosSlowdown(const ChaosSlowdown& slowdown);

}  // namespace tessera::cli
