// Connections within one process: the same messages without gRPC, for tests under ThreadSanitizer and for
// order tests. One thread delivers everything; with a seed it delivers in a shuffled but repeatable *choice*
// of connection, so that messages of different connections arrive in any order (within a connection, order is
// kept as gRPC does).
#pragma once

#include <cstdint>
#include <memory>

#include "common/exchange.h"

namespace tessera {

// Thread-safe. The destructor closes every connection and joins the thread.
class InProcessNetwork {
 public:
  // `shuffle_seed` 0: deliver in the order sent.
  explicit InProcessNetwork(uint64_t shuffle_seed);
  ~InProcessNetwork();

  struct Connection {
    std::shared_ptr<ExchangeSender> client;  // what the client sends with
    std::shared_ptr<ExchangeSender> server;  // what the server answers with
  };
  // A new connection; messages are delivered once Start has bound both receivers.
  Connection Connect();
  void Start(const Connection& connection, std::shared_ptr<ExchangeReceiver> client_receiver,
             std::shared_ptr<ExchangeReceiver> server_receiver);

 private:
  class State;
  class End;
  std::shared_ptr<State> state_;
};

}  // namespace tessera
