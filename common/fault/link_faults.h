// Faults of links on purpose, for tests and studies: messages of the exchange and calls to the coordinator
// are lost, connections are cut. Without root, inside our own ends: what is lost was never sent, and counts
// nowhere.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "common/exchange.h"

namespace tessera {

struct FaultOptions {
  double loss = 0;    // of a message or a call: the probability that it is lost, 0 <= loss < 1
  double cut = 0;     // of a message: that its connection is closed in its place, 0 <= cut < 1
  uint64_t seed = 0;  // give each process its own
};

// The faults of one process. What becomes of a message is a pure function of the seed, the number of its
// connection (in the order of Wrap) and its own number there; of a call, of the seed and its number.
// Thread-safe.
class LinkFaults : public std::enable_shared_from_this<LinkFaults> {
 public:
  // Null if `options` ask for none: then nothing is in anybody's way.
  static std::shared_ptr<LinkFaults> Create(const FaultOptions& options);

  // Sends through `sender`, but for what is lost: messages about shards alone, so that every message has a
  // retry. Hellos, credit and errors pass. A connection that is cut is closed with kUnavailable.
  std::shared_ptr<ExchangeSender> Wrap(std::shared_ptr<ExchangeSender> sender);
  // Draws whether the next call is lost.
  bool LosesCall();

  // One line: what was done so far.
  std::string Summary() const;

 private:
  class Sender;
  enum class Fate { kPass, kLose, kCut };
  explicit LinkFaults(const FaultOptions& options) : options_(options) {}
  // Of message `number` of connection `connection`; counted.
  Fate Draw(uint64_t connection, uint64_t number);

  const FaultOptions options_;
  std::atomic<uint64_t> connections_{0};
  std::atomic<uint64_t> calls_{0};
  std::atomic<uint64_t> lost_calls_{0};
  std::atomic<uint64_t> messages_{0};
  std::atomic<uint64_t> lost_messages_{0};
  std::atomic<uint64_t> cuts_{0};
};

// `sender` with the faults of `faults`, if there are any.
std::shared_ptr<ExchangeSender> WithFaults(LinkFaults* faults, std::shared_ptr<ExchangeSender> sender);

}  // namespace tessera
