// Shared memory between the two ends of one connection: how they find that they share a machine, and what
// each message says about it. A state machine beside the connection's queue; the connection holds the lock.
//
//   client                                                server
//   HELLO { its offer }                 ───────────────►  maps the client's segment
//   maps the server's segment           ◄───────────────  HELLO { its offer, mapped }
//   CREDIT { mapped }                   ───────────────►
//
// Every end gives the link a random name, and tells which reader it is (InboundLinks). When a link ends, what
// the peer has not consumed is withheld from use, and over another link to the same reader the peer is asked
// about it (withheld_links), by the next message. It answers (released_links) when the last tensor that came
// over that link is dropped. Asked again over each link until it is answered, so that no connection's end
// loses anything.
//
// From `mapped` on, a side may send a tensor that lies in its segment as a reference. Both or neither: where
// one of them can not map the other's, or has no outbox, tensors go as bytes both ways and nobody is told of
// an error.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/exchange.h"
#include "common/shared_memory/header.h"
#include "common/shared_memory/inbound_links.h"
#include "common/shared_memory/inbox.h"
#include "common/shared_memory/outbox.h"

namespace tessera {

// Not thread-safe; see Inbox for the tensors that it gives.
class SharedMemoryLink {
 public:
  // References that the peer has not consumed: beyond so many, tensors go as bytes. A peer that gives credit
  // without end and consumes nothing fills no list of ours.
  static constexpr size_t kMostUnderWay = 1 << 14;

  // Gives this process's outbox, or null: asked once, when the hello is about to go.
  using OutboxSource = std::function<std::shared_ptr<Outbox>()>;
  // `inbound` is that of all connections of this client or server.
  SharedMemoryLink(OutboxSource source, std::shared_ptr<InboundLinks> inbound);

  // What `message`, which is written next, says about shared memory. Its tensor is taken out if it goes as a
  // reference, and kept alive until the peer has consumed it.
  SharedMemoryHeader OnSend(ExchangeMessage* message);

  // What came with `message`, which gets its tensor if that came as a reference. Errors: kInvalidArgument, a
  // tensor that was not agreed on, those of Inbox::Take, and a tensor consumed that was not under way, a
  // link released that it was not asked about, too many links asked about.
  absl::Status OnReceive(const SharedMemoryHeader& header, ExchangeMessage* message);

  // A message must go soon, whichever, to tell the peer that its segment was mapped.
  bool HasAnnouncement() const { return announce_; }
  // One line, once, that says how tensors travel; empty while that is not news.
  std::string TakeNews();

  // The connection is over. What the peer may still be reading is withheld from reuse until it says that it
  // is not, over another link, or dies.
  void Close();

 private:
  void Greet(SharedMemoryHeader* header);
  absl::Status OnHello(const SharedMemoryHeader& header);
  // Maps the peer's segment; false, and news, if it can not be.
  bool Map(const SharedMemoryOffer& offer);
  void TellShared();
  // The links withheld from this peer that it has not been asked about over this one.
  std::vector<uint64_t> AskAboutWithheld();
  // Of the links that the peer has asked about, those that nobody here reads.
  std::vector<uint64_t> TakeReleased();
  // What the peer says about closed links. Errors: kInvalidArgument.
  absl::Status OnClosedLinks(const SharedMemoryHeader& header);
  // The peer has consumed `tensors`. Errors: kInvalidArgument, one of them is not under way.
  absl::Status Release(const SequenceRange& tensors);
  // What stands for `tensor`, which lies in our segment; nothing if its bytes must go.
  std::optional<SharedTensorReference> Refer(const TensorBytes& tensor);

  OutboxSource source_;
  const std::shared_ptr<InboundLinks> inbound_;
  const uint64_t link_ = NewLinkId();  // this end's name of it
  Outbox::Reader reader_;              // the peer, once its segment is mapped
  std::shared_ptr<Outbox> outbox_;     // once it has been offered
  std::optional<Inbox> inbox_;         // once the peer's is mapped
  bool greeted_by_peer_ = false;
  std::optional<SharedMemoryOffer> peer_offer_;  // of its hello, until ours goes
  bool peer_maps_ = false;                       // it has mapped ours: references may go
  bool announce_ = false;
  std::string news_;
  uint64_t withholdings_ = 0;      // of the outbox, when the peer was asked last
  bool crowded_ = false;           // so much is withheld from the peer that its tensors go as bytes
  std::set<uint64_t> asked_;       // links of ours that the peer was asked about
  std::set<uint64_t> questioned_;  // links of its own that the peer has asked about
  uint64_t sent_ = 0;              // sequence number of the last reference
  std::map<uint64_t, std::shared_ptr<const void>>
      under_way_;  // by sequence number: what the peer has not consumed
};

}  // namespace tessera
