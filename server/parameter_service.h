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

// Thread-safe.
class ParameterService : public std::enable_shared_from_this<ParameterService> {
 public:
  // Until Open, a session's hello is held back: a client learns by its answer that the shards are there.
  static std::shared_ptr<ParameterService> Create();
  ~ParameterService();

  // The shards are there, under shard map `term`; held hellos are answered. Once.
  void Open(std::shared_ptr<ParameterStore> store, int64_t term);

  // Parked reads are answered with kCancelled and every session is closed. Idempotent.
  void Close();

  // The receiver of a new connection whose answers go through `sender`; what it does is recorded in `trace`.
  std::shared_ptr<ExchangeReceiver> NewSession(std::shared_ptr<ExchangeSender> sender, const ExchangeTrace& trace = {});

  // Null before Open.
  std::shared_ptr<ParameterStore> store() const;
  ServiceStats stats() const;

 private:
  class Session;
  ParameterService() = default;

  mutable Mutex mutex_;  // guards what Open and Close change; never held while a message is handled
  std::shared_ptr<ParameterStore> store_ ABSL_GUARDED_BY(mutex_);
  int64_t term_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::weak_ptr<Session>> sessions_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int64_t> pushed_bytes_{0};
  std::atomic<int64_t> pulled_bytes_{0};
  std::atomic<int64_t> refused_messages_{0};
};

}  // namespace tessera
