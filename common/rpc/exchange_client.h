// The client's end of Exchange streams over gRPC: one thread for all streams of a process.
#pragma once

#include <memory>
#include <string>

#include "common/exchange.h"
#include "common/rpc/completion_thread.h"
#include "common/shared_memory/inbound_links.h"
#include "common/shared_memory/outbox.h"
#include "common/trace/exchange_trace.h"

namespace tessera {

// Thread-safe. The destructor cancels what is open, waits for every receiver's OnClosed and joins the thread.
class ExchangeClient {
 public:
  // Tensors that lie in `outbox` go to servers of this machine by reference; null: none does.
  explicit ExchangeClient(std::shared_ptr<Outbox> outbox = nullptr);
  ~ExchangeClient();

  // Opens a stream to host:port. Returns at once; `receiver` gets what the server sends, and OnClosed when
  // the stream could not be opened (kUnavailable) or has ended. The caller sends a kHello first.
  // Its messages are recorded in `trace`.
  std::shared_ptr<ExchangeSender> Open(const std::string& address, std::shared_ptr<ExchangeReceiver> receiver,
                                       const ExchangeTrace& trace = {});

 private:
  class Connection;
  const std::shared_ptr<Outbox> outbox_;
  const std::shared_ptr<InboundLinks> inbound_ = std::make_shared<InboundLinks>();
  CompletionThread thread_;
  Mutex mutex_;
  std::vector<std::weak_ptr<Connection>> connections_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tessera
