#include "cli/chaos_player.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tessera::cli {

ChaosPlayer::ChaosPlayer(const ChaosPlan& plan) : faults_(plan.faults), fired_(plan.faults.size()) {}

bool ChaosPlayer::pending() const {
  return std::any_of(fired_.begin(), fired_.end(), [](bool fired) { return !fired; });
}

std::vector<size_t> ChaosPlayer::Due(int64_t step, const std::function<bool(const Place&)>& alive) const {
  std::vector<size_t> due;
  for (size_t i = 0; i < faults_.size(); ++i) {
    const ChaosFault& fault = faults_[i];
    if (fired_[i] || fault.step > step) continue;
    if (fault.kind != ChaosFault::Kind::kRestart && !alive(fault.place)) continue;
    if (fault.kind == ChaosFault::Kind::kStop && Stopped(fault.place)) continue;
    due.push_back(i);
  }
  return due;
}

void ChaosPlayer::OnInjected(size_t index, int64_t pid, int64_t step, absl::Time now) {
  const ChaosFault& fault = faults_[index];
  fired_[index] = true;
  progress_ = now;
  injections_.push_back({.fault = FormatChaosFault(fault),
                         .node = FormatPlace(fault.place),
                         .pid = pid,
                         .step = step,
                         .when = now});
  if (fault.kind == ChaosFault::Kind::kStop) {
    wakes_.push_back({.place = fault.place, .pid = pid, .when = now + fault.pause});
    return;
  }
  // Whoever was stopped there is dead now.
  wakes_.erase(std::remove_if(wakes_.begin(), wakes_.end(),
                              [&fault](const Wake& wake) { return wake.place == fault.place; }),
               wakes_.end());
  held_.erase(std::remove(held_.begin(), held_.end(), fault.place), held_.end());
  if (fault.kind == ChaosFault::Kind::kKill && RestartOf(fault.place) != nullptr)
    held_.push_back(fault.place);
}

bool ChaosPlayer::Holds(const Place& place) const {
  return std::find(held_.begin(), held_.end(), place) != held_.end();
}

bool ChaosPlayer::Stopped(const Place& place) const {
  return std::any_of(wakes_.begin(), wakes_.end(),
                     [&place](const Wake& wake) { return wake.place == place; });
}

std::vector<ChaosPlayer::Wake> ChaosPlayer::TakeWakes(absl::Time now) {
  const auto later = std::stable_partition(wakes_.begin(), wakes_.end(),
                                           [now](const Wake& wake) { return wake.when <= now; });
  const std::vector<Wake> due(wakes_.begin(), later);
  wakes_.erase(wakes_.begin(), later);
  return due;
}

absl::Time ChaosPlayer::NextWake() const {
  absl::Time next = absl::InfiniteFuture();
  for (const Wake& wake : wakes_) next = std::min(next, wake.when);
  return next;
}

std::optional<std::string> ChaosPlayer::Stalled(int64_t step, absl::Duration patience, absl::Time now) {
  if (step > highest_step_ || progress_ == absl::InfinitePast()) progress_ = now;
  highest_step_ = std::max(highest_step_, step);
  if (held_.empty() || now < progress_ + patience) return std::nullopt;
  const ChaosFault* restart = RestartOf(held_.front());
  return absl::StrCat("training stands at step ", highest_step_, " without ", FormatPlace(held_.front()),
                      ", which the plan starts again at step ", restart != nullptr ? restart->step : 0);
}

const ChaosFault* ChaosPlayer::RestartOf(const Place& place) const {
  for (size_t i = 0; i < faults_.size(); ++i) {
    const ChaosFault& fault = faults_[i];
    if (!fired_[i] && fault.kind == ChaosFault::Kind::kRestart && fault.place == place) return &fault;
  }
  return nullptr;
}

std::vector<std::string> ChaosPlayer::Unfired() const {
  std::vector<std::string> unfired;
  for (size_t i = 0; i < faults_.size(); ++i) {
    if (!fired_[i]) unfired.push_back(FormatChaosFault(faults_[i]));
  }
  return unfired;
}

}  // namespace tessera::cli
