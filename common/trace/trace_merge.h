// Joins the traces of a run's processes into one, and adds what no process sees alone: the time that each
// message was on its way ("wire"), from when its sender had encoded it, for the transport to take, to when
// its receiver got it.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace tessera {

struct TracePart {
  std::string process;  // "worker 0", for messages
  std::string path;     // of its ProcessTrace
};

struct MergedTrace {
  int64_t events = 0;
  std::vector<std::string> missing;  // processes that left no readable trace
  std::vector<std::pair<std::string, int64_t>>
      dropped;  // of processes whose last events did not fit: how many
};

// Writes one JSON object with the events of all `parts`, in their order, to `out`. A part that is missing,
// empty or damaged is left out from where it cannot be read, and named. A message is found at both ends by
// what it is: push or weights, shard, replicas and clock; one that only one end has recorded has no "wire".
MergedTrace MergeTraces(absl::Span<const TracePart> parts, std::ostream& out);

}  // namespace tessera
