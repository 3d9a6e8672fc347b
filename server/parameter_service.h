// Adapts the parameter store to the exchange: one session per connection, whatever carries it (gRPC or this
// process). Nothing that a client sends can end the server: a bad message is answered with an error and
// counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/exchange.h"
#include "common/mutex.h"
#include "common/trace/exchange_trace.h"
#include "server/parameter_store.h"

namespace tessera {

struct ServiceStats {
  int64_t pushed_bytes = 0;      // tensor bytes received in pushes
  int64_t pulled_bytes = 0;      // tensor bytes sent in answers
  int64_t refused_messages = 0;  // answered with an error
};

// Sessions outlive changes of the map. Pushes and reads (but those of `latest`) are taken under exactly the
// adopted term: a lower one is refused with kAborted (the answer's term is the server's), a higher one with
// kUnavailable, before anything else is looked at. docs/adr/0009-recovery.md. Forwards and copies are taken
// from the shard's primary alone, as the map names it: a session's node is what its hello says. Thread-safe.
class ParameterService : public std::enable_shared_from_this<ParameterService> {
 public:
  // Until the first store, a session's hello is held back: a client learns by its answer that the shards are
  // there.
  static std::shared_ptr<ParameterService> Create();
  ~ParameterService();

  // Shard map `term` holds from now on, and `store`, the same as before or another. Another one replaces the
  // last, which is closed: what waited for it is dropped, its clients ask again. Null: the shards of the map
  // are not there yet, and every message is refused with kUnavailable, or as of a lower term. `term` is
  // higher than all before, or the same as the last one's. Not from two threads at once. `primaries`: by
  // shard, the node that is its primary; shards beyond have none.
  void Adopt(std::shared_ptr<ParameterStore> store, int64_t term, std::vector<NodeId> primaries = {});

  // The store may have opened (ParameterStore::open): workers' hellos wait for that, since the clocks that
  // they are told must be any heir's too.
  void OnOpen();

  // This server is nobody's any more: drops the store and closes every session with `reason`. A new session
  // waits for the next Adopt, whatever its term.
  void Reset(const absl::Status& reason);

  // As Reset, for good: new sessions are closed too. Idempotent.
  void Close();

  // The receiver of a new connection whose answers go through `sender`; what it does is recorded in `trace`.
  std::shared_ptr<ExchangeReceiver> NewSession(std::shared_ptr<ExchangeSender> sender,
                                               const ExchangeTrace& trace = {});

  // Null where there is none yet.
  std::shared_ptr<ParameterStore> store() const;
  ServiceStats stats() const;

 private:
  class Session;
  // What holds at present.
  struct State {
    std::shared_ptr<ParameterStore> store;
    int64_t term = 0;
    std::shared_ptr<const std::vector<NodeId>> primaries;
  };
  ParameterService() = default;
  State state() const;
  void TellSessions();
  void CloseSessions(const absl::Status& reason, bool for_good);

  mutable Mutex mutex_;  // never held while a message is handled
  State state_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::weak_ptr<Session>> sessions_ ABSL_GUARDED_BY(mutex_);
  std::atomic<ReaderId> next_reader_{kNoReader + 1};
  std::atomic<int64_t> pushed_bytes_{0};
  std::atomic<int64_t> pulled_bytes_{0};
  std::atomic<int64_t> refused_messages_{0};
};

}  // namespace tessera
