// What one end of a connection records of the messages that carry tensors: how long they waited to be sent,
// their encoding, their arrival. Others are small and go ahead; they are not traced.
#pragma once

#include <string>

#include "common/exchange.h"
#include "common/trace/trace_recorder.h"

namespace tessera {

// A value, like TraceTrack; by default it records nothing.
struct ExchangeTrace {
  TraceTrack send;     // one message is encoded at a time
  TraceTrack receive;  // what arrives is decoded and handled one at a time; its handlers record here too

  // The tracks "to <peer>" and "from <peer>" of `recorder`; none if it is null.
  static ExchangeTrace To(TraceRecorder* recorder, const std::string& peer);
  // The peer has told its name.
  void NamePeer(const std::string& peer) const;

  // `message` leaves the queue that it entered at message.queued_ns.
  void OnLeft(const ExchangeMessage& message) const;
  // `message` has come at `begin_ns`, and is decoded now.
  void OnReceived(const ExchangeMessage& message, int64_t begin_ns) const;
};

// What a span about `message` tells.
TraceArgs ArgsOf(const ExchangeMessage& message);

}  // namespace tessera
