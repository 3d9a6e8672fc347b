#include "coordinator/recomputed_steps.h"

#include <algorithm>
#include <limits>

namespace tessera {
namespace {

// What nodes report is not trusted: a sum beyond the range of its type stays at the end of it.
int64_t Sum(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

}  // namespace

void RecomputedSteps::Add(Clock clock) {
  if (clock <= counted_) return;
  clocks_.insert(clock);
  if (clocks_.size() <= kMostApart) return;
  counted_ = *clocks_.begin();
  clocks_.erase(clocks_.begin());
  settled_ = Sum(settled_, 1);
}

void RecomputedSteps::Rewind(Clock lost) {
  settled_ = Sum(total(), lost);
  clocks_.clear();
  counted_ = -1;
}

int64_t RecomputedSteps::total() const { return Sum(settled_, static_cast<int64_t>(clocks_.size())); }

void RecomputedSteps::ToJournal(wire::JournalState* journal) const {
  journal->mutable_recomputed()->Assign(clocks_.begin(), clocks_.end());
  journal->set_recomputed_up_to(counted_ + 1);
  journal->set_recomputed_before(settled_);
}

void RecomputedSteps::FromJournal(const wire::JournalState& journal) {
  *this = {};
  counted_ = std::max<Clock>(journal.recomputed_up_to(), 0) - 1;
  settled_ = std::max<int64_t>(journal.recomputed_before(), 0);
  for (const Clock clock : journal.recomputed()) Add(clock);
}

}  // namespace tessera
