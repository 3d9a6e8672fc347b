#include "server/shard_updater.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

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

absl::Status CheckSlot(const ShardSnapshot::Slot& slot, size_t length) {
  if (slot.values == nullptr)
    return absl::InvalidArgumentError(absl::StrCat("slot ", slot.name, " is empty"));
  if (slot.values->size() == length) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("slot ", slot.name, " has ", slot.values->size(), " elements, not ", length));
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

template <typename GradientOf>
void ShardUpdater::ApplyPieces(const UpdateContext& context, absl::Span<const float> weights,
                               absl::Span<float> next, GradientOf gradient_of) {
  absl::InlinedVector<absl::Span<float>, 2> slots(slots_.size());
  for (const UpdateRange& range : ranges_) {
    const Optimizer& optimizer = range.undecayed ? *rule_.undecayed : *rule_.optimizer;
    for (size_t done = 0; done < range.length;) {
      const size_t offset = range.offset + done, length = std::min(range.length - done, kPiece);
      const absl::Span<float> gradient = gradient_of(offset, length);
      for (size_t s = 0; s < slots.size(); ++s) slots[s] = slots_[s]->span().subspan(offset, length);
      optimizer.Apply(context, weights.subspan(offset, length), gradient, slots,
                      next.subspan(offset, length));
      done += length;
    }
  }
}

void ShardUpdater::Apply(const Round& round, absl::Span<const float> weights, RoundSum sum,
                         absl::Span<float> next, absl::Span<float> final) {
  const auto count = static_cast<float>(round.staleness.size());
  std::array<float, kPiece> piece;
  ApplyPieces({LearningRate(round), round.update}, weights, next, [&](size_t offset, size_t length) {
    const absl::Span<float> gradient =
        final.empty() ? absl::MakeSpan(piece).first(length) : final.subspan(offset, length);
    sum.ReadNext(gradient);
    Divide(gradient, count);
    if (rule_.correction.compensates()) Compensate(round, weights, offset, gradient);
    return gradient;
  });
}

void ShardUpdater::Repeat(const UpdateContext& context, absl::Span<const float> weights, RoundSum final,
                          absl::Span<float> next) {
  std::array<float, kPiece> piece;
  ApplyPieces(context, weights, next, [&](size_t, size_t length) {
    const absl::Span<float> gradient = absl::MakeSpan(piece).first(length);
    final.ReadNext(gradient);
    return gradient;
  });
}

std::vector<ShardUpdater::NamedState> ShardUpdater::States() const {
  std::vector<NamedState> states;
  const std::vector<OptimizerSlot> slots = rule_.optimizer->slots();
  for (size_t s = 0; s < slots.size(); ++s) states.push_back({slots[s].name, slots_[s].get()});
  if (mean_square_ != nullptr) states.push_back({"mean_square", mean_square_.get()});
  return states;
}

std::vector<ShardSnapshot::Slot> ShardUpdater::Slots() const {
  std::vector<ShardSnapshot::Slot> slots;
  for (const NamedState& state : States()) slots.push_back({state.name, CopyOf(state.values->span())});
  return slots;
}

absl::Status ShardUpdater::SetSlots(absl::Span<const ShardSnapshot::Slot> slots) {
  const std::vector<NamedState> states = States();
  std::vector<const TensorBuffer*> values(states.size());
  for (const ShardSnapshot::Slot& slot : slots) {
    TESSERA_RETURN_IF_ERROR(CheckSlot(slot, length_));
    const auto named = [&slot](const NamedState& state) { return state.name == slot.name; };
    const auto index = std::find_if(states.begin(), states.end(), named) - states.begin();
    if (index == std::ssize(states) || values[index] != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("slot ", slot.name, " is unknown or there twice"));
    }
    values[index] = slot.values.get();
  }
  for (size_t i = 0; i < states.size(); ++i) {
    if (values[i] == nullptr) return absl::InvalidArgumentError(absl::StrCat("no slot ", states[i].name));
  }
  for (size_t i = 0; i < states.size(); ++i) {
    std::copy_n(values[i]->data(), length_, states[i].values->data());
  }
  return absl::OkStatus();
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
