#include "server/shard_updater.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/inlined_vector.h"

namespace tessera {
namespace {

constexpr size_t kPiece = 2048;  // 8 KiB of each tensor at a time

void Divide(absl::Span<float> values, float divisor) {
  if (divisor == 1) return;
  float* __restrict out = values.data();
  const size_t length = values.size();
  for (size_t i = 0; i < length; ++i) out[i] /= divisor;
}

std::unique_ptr<TensorBuffer> Filled(size_t length, float value) {
  auto buffer = std::make_unique<TensorBuffer>(length);
  std::fill_n(buffer->data(), length, value);
  return buffer;
}

}  // namespace

std::vector<UpdateRange> UpdateRanges(const ShardLayout& layout, ShardId shard) {
  const std::vector<ParameterSpec>& parameters = layout.blocks()[layout.shards()[shard].block].parameters;
  std::vector<UpdateRange> ranges;
  for (const ShardSegment& segment : layout.Segments(shard)) {
    const bool undecayed = parameters[segment.parameter].shape.size() == 1;
    const auto length = static_cast<size_t>(segment.length);
    if (!ranges.empty() && ranges.back().undecayed == undecayed) {
      ranges.back().length += length;
    } else {
      ranges.push_back({static_cast<size_t>(segment.shard_offset), length, undecayed});
    }
  }
  return ranges;
}

ShardUpdater::ShardUpdater(UpdateRule rule, size_t length, std::vector<UpdateRange> ranges)
    : rule_(std::move(rule)), length_(length), ranges_(std::move(ranges)) {
  if (rule_.undecayed == nullptr) ranges_ = {{0, length_, false}};
  for (const OptimizerSlot& slot : rule_.optimizer->slots()) slots_.push_back(Filled(length_, slot.initial));
  const StalenessCorrection& correction = rule_.correction;
  if (correction.compensates() && correction.adaptive) mean_square_ = Filled(length_, 0);
}

void ShardUpdater::Apply(const Round& round, absl::Span<const float> weights, RoundSum sum,
                         absl::Span<float> next) {
  const auto count = static_cast<float>(round.staleness.size());
  const UpdateContext context{rule_.LearningRate(round.progress, round.staleness), round.update};
  std::array<float, kPiece> piece;
  absl::InlinedVector<absl::Span<float>, 2> slots(slots_.size());
  for (const UpdateRange& range : ranges_) {
    const Optimizer& optimizer = range.undecayed ? *rule_.undecayed : *rule_.optimizer;
    for (size_t done = 0; done < range.length;) {
      const size_t offset = range.offset + done, length = std::min(range.length - done, kPiece);
      const absl::Span<float> gradient = absl::MakeSpan(piece).first(length);
      sum.ReadNext(gradient);
      Divide(gradient, count);
      if (rule_.correction.compensates()) Compensate(round, weights, offset, gradient);
      for (size_t s = 0; s < slots.size(); ++s) slots[s] = slots_[s]->span().subspan(offset, length);
      optimizer.Apply(context, weights.subspan(offset, length), gradient, slots,
                      next.subspan(offset, length));
      done += length;
    }
  }
}

void ShardUpdater::Compensate(const Round& round, absl::Span<const float> weights, size_t offset,
                              absl::Span<float> gradient) {
  absl::Span<float> mean_square;
  if (mean_square_ != nullptr) {
    mean_square = mean_square_->span().subspan(offset, gradient.size());
    UpdateMeanSquare(gradient, mean_square);
  }
  // Without drift there is nothing to add, and a square that overflows would make NaN of it.
  if (round.read == nullptr || round.read->data() == weights.data()) return;
  CompensateDelay(static_cast<float>(rule_.correction.lambda), weights.subspan(offset, gradient.size()),
                  round.read->span().subspan(offset, gradient.size()), mean_square, gradient);
}

}  // namespace tessera
