#include "common/shared_memory/link.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera {

SharedMemoryLink::SharedMemoryLink(OutboxSource source, std::shared_ptr<InboundLinks> inbound)
    : source_(std::move(source)), inbound_(std::move(inbound)) {}

SharedMemoryHeader SharedMemoryLink::OnSend(ExchangeMessage* message) {
  SharedMemoryHeader header;
  if (message->kind == MessageKind::kHello) {
    Greet(&header);
    return header;
  }
  if (!inbox_.has_value()) return header;
  header.mapped = std::exchange(announce_, false);
  header.consumed = inbox_->TakeConsumed();
  header.released_links = TakeReleased();
  if (peer_maps_) header.withheld_links = AskAboutWithheld();
  header.tensor = Refer(message->tensor);
  if (header.tensor.has_value()) message->tensor = TensorBytes();
  return header;
}

void SharedMemoryLink::Greet(SharedMemoryHeader* header) {
  const OutboxSource source = std::exchange(source_, nullptr);
  if (source == nullptr) return;
  std::shared_ptr<Outbox> outbox = source();
  // Who answers a hello offers only what can be used: a peer of another machine learns nothing of ours.
  const bool answers = greeted_by_peer_;
  if (outbox == nullptr || (answers && !peer_offer_.has_value())) return;
  if (answers && !Map(*peer_offer_)) return;
  outbox_ = std::move(outbox);
  header->offer = outbox_->segment()->offer();
  header->offer->link = link_;
  header->offer->reader = inbound_->id();
  header->mapped = answers;
}

std::optional<SharedTensorReference> SharedMemoryLink::Refer(const TensorBytes& tensor) {
  if (!peer_maps_ || crowded_ || tensor.pieces().size() != 1 || under_way_.size() == kMostUnderWay) {
    return std::nullopt;
  }
  const TensorBytes::Piece& piece = tensor.pieces().front();
  const std::optional<uint64_t> offset = outbox_->segment()->OffsetOf(piece.bytes);
  if (!offset.has_value()) return std::nullopt;
  outbox_->ReleaseDead();
  outbox_->CountShared(piece.bytes.size());
  under_way_.emplace(++sent_, piece.owner);
  return SharedTensorReference{sent_, *offset, piece.bytes.size()};
}

absl::Status SharedMemoryLink::OnReceive(const SharedMemoryHeader& header, ExchangeMessage* message) {
  if (message->kind == MessageKind::kHello) return OnHello(header);
  if (header.mapped) {
    if (!inbox_.has_value()) return absl::InvalidArgumentError("it has mapped what was not offered to it");
    if (!std::exchange(peer_maps_, true)) TellShared();
  }
  for (const SequenceRange& consumed : header.consumed) TESSERA_RETURN_IF_ERROR(Release(consumed));
  TESSERA_RETURN_IF_ERROR(OnClosedLinks(header));
  if (!header.tensor.has_value()) return absl::OkStatus();
  if (!inbox_.has_value() || message->tensor.size_bytes() > 0) {
    return absl::InvalidArgumentError("a tensor in shared memory that was not agreed on");
  }
  TESSERA_ASSIGN_OR_RETURN(TensorBytes::Piece piece, inbox_->Take(*header.tensor));
  outbox_->CountShared(piece.bytes.size());
  message->tensor.Append(std::move(piece));
  return absl::OkStatus();
}

std::vector<uint64_t> SharedMemoryLink::AskAboutWithheld() {
  std::vector<uint64_t> questions;
  if (outbox_->withholdings() == withholdings_ && !crowded_) return questions;
  const uint64_t withholdings = outbox_->withholdings();
  const std::vector<uint64_t> withheld = outbox_->LinksWithheldFrom(reader_);
  crowded_ = withheld.size() >= SharedMemoryHeader::kMostLinks;
  for (const uint64_t link : withheld) {
    if (asked_.size() == SharedMemoryHeader::kMostLinks) return questions;  // the others another time
    if (asked_.insert(link).second) questions.push_back(link);
  }
  withholdings_ = withholdings;
  return questions;
}

std::vector<uint64_t> SharedMemoryLink::TakeReleased() {
  std::vector<uint64_t> released;
  for (auto link = questioned_.begin(); link != questioned_.end();) {
    if (inbound_->Contains(reader_.process->pid(), *link)) {
      ++link;
      continue;
    }
    released.push_back(*link);
    link = questioned_.erase(link);
  }
  return released;
}

absl::Status SharedMemoryLink::OnClosedLinks(const SharedMemoryHeader& header) {
  for (const uint64_t link : header.released_links) {
    if (asked_.erase(link) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("it has released link ", link, " in shared memory, which it was not asked about"));
    }
    outbox_->Release(reader_, link);
  }
  if (header.withheld_links.empty()) return absl::OkStatus();
  if (!inbox_.has_value())
    return absl::InvalidArgumentError("it asks about links of a memory that is not shared");
  questioned_.insert(header.withheld_links.begin(), header.withheld_links.end());
  if (questioned_.size() <= SharedMemoryHeader::kMostLinks) return absl::OkStatus();
  return absl::InvalidArgumentError("it asks about too many links in shared memory at once");
}

absl::Status SharedMemoryLink::Release(const SequenceRange& tensors) {
  if (tensors.first > tensors.last || tensors.last > sent_) {
    return absl::InvalidArgumentError(absl::StrCat("it has consumed tensors ", tensors.first, " to ",
                                                   tensors.last, " in shared memory, but ", sent_,
                                                   " were sent"));
  }
  for (uint64_t sequence = tensors.first; sequence <= tensors.last; ++sequence) {
    if (under_way_.erase(sequence) > 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("it has consumed tensor ", sequence, " in shared memory, which is not under way"));
  }
  return absl::OkStatus();
}

absl::Status SharedMemoryLink::OnHello(const SharedMemoryHeader& header) {
  if (std::exchange(greeted_by_peer_, true)) return absl::OkStatus();  // a second one: those above refuse it
  if (header.mapped && outbox_ == nullptr) {
    return absl::InvalidArgumentError("it has mapped what was not offered to it");
  }
  const bool asked = outbox_ != nullptr;
  if (!asked) {
    peer_offer_ = header.offer;
  } else if (!header.mapped || !header.offer.has_value()) {
    outbox_ = nullptr;
    news_ = "tensors go over TCP: the peer that we offered shared memory does not take it";
  } else if (Map(*header.offer)) {
    announce_ = true;
    peer_maps_ = true;
    TellShared();
  }
  return absl::OkStatus();
}

bool SharedMemoryLink::Map(const SharedMemoryOffer& offer) {
  absl::StatusOr<std::shared_ptr<const SegmentView>> view = SegmentView::Open(offer);
  if (view.ok()) {
    inbox_.emplace(*std::move(view), inbound_, offer.link);
    reader_ = {inbox_->peer(), offer.reader};
  } else {
    news_ = absl::StrCat("tensors go over TCP, no memory is shared: ", view.status().message());
  }
  return inbox_.has_value();
}

void SharedMemoryLink::TellShared() {
  news_ = absl::StrCat("tensors from and to process ", reader_.process->pid(), " go through shared memory");
}

std::string SharedMemoryLink::TakeNews() { return std::exchange(news_, {}); }

void SharedMemoryLink::Close() {
  std::vector<std::shared_ptr<const void>> unread;
  for (auto& [sequence, tensor] : std::exchange(under_way_, {})) unread.push_back(std::move(tensor));
  if (!unread.empty()) outbox_->Withhold(reader_, link_, std::move(unread));
  peer_maps_ = false;
  inbox_.reset();
}

}  // namespace tessera
