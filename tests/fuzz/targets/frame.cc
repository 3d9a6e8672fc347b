// A frame of the exchange: decoded, written and decoded again, and given to a session of a small server, once
// for each way of counting pushes, and to one of a backup.
#include <memory>
#include <utility>
#include <vector>

#include "common/check.h"
#include "common/protocol.h"
#include "common/rpc/shard_codec.h"
#include "server/parameter_service.h"
#include "tests/fuzz/target.h"

namespace tessera {
namespace {

constexpr int64_t kTerm = 1;
constexpr NodeId kPrimary = 4;

// `bytes` as slices cut at every `piece` bytes.
grpc::ByteBuffer Cut(absl::Span<const uint8_t> bytes, size_t piece) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    const absl::Span<const uint8_t> part = bytes.subspan(at, piece);
    slices.emplace_back(part.data(), part.size());
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

size_t TensorBytesOf(const std::vector<FramedMessage>& messages) {
  size_t bytes = 0;
  for (const FramedMessage& framed : messages) bytes += framed.message.tensor.size_bytes();
  return bytes;
}

// What was understood can be written, and is then understood in the same way.
void CheckWrittenAgain(const std::vector<FramedMessage>& messages) {
  FrameWriter writer;
  for (const FramedMessage& framed : messages) writer.Add(framed.message, framed.shared);
  const absl::StatusOr<std::vector<FramedMessage>> again = DecodeFrame(std::move(writer).Finish());
  TESSERA_CHECK(again.ok() && again->size() == messages.size());
  for (size_t i = 0; i < messages.size(); ++i) {
    const ExchangeMessage& before = messages[i].message;
    const ExchangeMessage& after = (*again)[i].message;
    TESSERA_CHECK(after.kind == before.kind && after.shard == before.shard &&
                  after.replicas == before.replicas);
    TESSERA_CHECK(after.clock == before.clock && after.version == before.version &&
                  after.error == before.error);
    TESSERA_CHECK(after.tensor.size_bytes() == before.tensor.size_bytes());
    TESSERA_CHECK((after.replication == nullptr) == (before.replication == nullptr));
    // Bytes and not ==: a rate may be no number.
    TESSERA_CHECK(after.replication == nullptr ||
                  (after.replication->covered == before.replication->covered &&
                   after.replication->tensor == before.replication->tensor));
  }
}

// Counts the answers.
class Answers : public ExchangeSender {
 public:
  void Send(ExchangeMessage message, int) override {
    if (message.kind != MessageKind::kCredit) ++count_;
  }
  void Flush() override {}
  void Grant(int64_t bytes) override { TESSERA_CHECK(bytes > 0); }
  void Close(absl::Status) override { closed_ = true; }

  size_t count() const { return count_; }
  bool closed() const { return closed_; }

 private:
  size_t count_ = 0;
  bool closed_ = false;
};

std::shared_ptr<ParameterStore> SmallStore(const ConsistencyOptions& consistency) {
  const absl::StatusOr<ShardLayout> layout =
      ShardLayout::Create({{"fc", ParameterKind::kWeight, {{.name = "fc.weight", .shape = {24}}}},
                           {"bn",
                            ParameterKind::kStatistic,
                            {{.name = "bn.running_mean", .shape = {4}, .kind = ParameterKind::kStatistic}}}},
                          48);
  TESSERA_CHECK(layout.ok() && layout->shards().size() == 3);
  ParameterStoreOptions options;
  options.consistency = consistency;
  options.optimizer =
      OptimizerRegistry::Create("optimizer", "momentum", {{"lr", "0.1"}, {"momentum", "0.9"}}).value();
  options.schedule = CreateSchedule("constant", {}, {.total_steps = 100, .steps_per_epoch = 10}).value();
  absl::StatusOr<std::unique_ptr<ParameterStore>> store =
      ParameterStore::Create(std::move(options), *layout, {0, 1, 2});
  TESSERA_CHECK(store.ok());
  return *std::move(store);
}

// A client that says hello and then `messages`; or another server, the primary of shards that are held as a
// backup.
void Serve(const std::vector<FramedMessage>& messages, const ConsistencyOptions& consistency,
           bool backup = false) {
  const std::shared_ptr<ParameterService> service = ParameterService::Create();
  const std::shared_ptr<ParameterStore> store = SmallStore(consistency);
  const ShardDuty duty{.role = backup ? ShardRole::kBackup : ShardRole::kPrimary};
  TESSERA_CHECK(store->SetDuties(kTerm, {{0, duty}, {1, duty}, {2, duty}}).ok());
  service->Adopt(store, kTerm, {kPrimary, kPrimary, kPrimary});
  const auto answers = std::make_shared<Answers>();
  const std::shared_ptr<ExchangeReceiver> session = service->NewSession(answers);
  ExchangeMessage hello;
  hello.kind = MessageKind::kHello;
  hello.protocol_version = kProtocolVersion;
  if (backup)
    hello.replication = std::make_shared<const ReplicationFields>(ReplicationFields{.node_id = kPrimary});
  session->OnMessage(hello);
  TESSERA_CHECK(answers->count() == 1);
  for (const FramedMessage& framed : messages) {
    if (answers->closed()) break;
    if (framed.message.kind != MessageKind::kCredit) session->OnMessage(framed.message);
  }
  TESSERA_CHECK(answers->count() <= 1 + messages.size());
  session->OnClosed(absl::OkStatus());
  service->Close();
}

void Run(absl::Span<const uint8_t> bytes) {
  const absl::StatusOr<std::vector<FramedMessage>> messages = DecodeFrame(Cut(bytes, bytes.size()));
  const absl::StatusOr<std::vector<FramedMessage>> in_pieces = DecodeFrame(Cut(bytes, 7));
  TESSERA_CHECK(messages.status() == in_pieces.status());
  if (!messages.ok()) return;
  TESSERA_CHECK(!messages->empty() && messages->size() == in_pieces->size());
  TESSERA_CHECK(TensorBytesOf(*messages) <= bytes.size());
  CheckWrittenAgain(*messages);
  Serve(*in_pieces, {.replicas = 4, .group = 4});
  Serve(*in_pieces, {.replicas = 4, .group = 4}, /*backup=*/true);
  Serve(*in_pieces, {.replicas = 4, .group = 2, .staleness = 1});
  Serve(*in_pieces, {.replicas = 4, .group = 4, .drop_stragglers = 1, .units = {{0, 1}, {2, 3}}});
}

const FuzzTarget kTarget("frame", &Run);

}  // namespace
}  // namespace tessera
