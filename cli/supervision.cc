#include "cli/supervision.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tessera::cli {
namespace {

constexpr int kWrongCommandLine = 2;  // exit status of every daemon

const char* NameOf(PlaceKind kind) { return kind == PlaceKind::kServer ? "server" : "worker"; }

}  // namespace

Supervision::Supervision(std::vector<Place> places, const SupervisionOptions& options)
    : options_(options), policy_(options.seed), seats_(places.size()) {
  for (size_t i = 0; i < places.size(); ++i) seats_[i].place = places[i];
}

void Supervision::OnExit(size_t process, const ProcessExit& exit, const std::string& line, bool held,
                         absl::Time now) {
  Seat& seat = seats_[process];
  seat.line = line;
  if (!exit.signaled && exit.code == kWrongCommandLine) {
    seat.state = Seat::kDead;
    return Fail(line);
  }
  if (held) {
    news_.push_back(line);
    seat.state = Seat::kHeld;
    return;
  }
  if (exit.signaled || seat.place.kind == PlaceKind::kCoordinator) return BelieveDead(process, now);
  if (exit.was_asked()) {
    news_.push_back(line);
    seat.state = Seat::kDead;
    return;
  }
  // A node that leaves in order has heard that the job is over, perhaps before us; one that leaves with an
  // error, that the job failed.
  seat.state = Seat::kLeft;
  seat.due = now + (exit.clean() ? options_.lease : absl::ZeroDuration()) + kExplanation;
}

void Supervision::OnStarted(size_t process) { seats_[process].state = Seat::kRunning; }

std::vector<size_t> Supervision::TakeDue(absl::Time now) {
  std::vector<size_t> due;
  for (size_t i = 0; i < seats_.size(); ++i) {
    if (seats_[i].state == Seat::kLeft && seats_[i].due <= now) BelieveDead(i, now);
    if (seats_[i].state != Seat::kWaiting || seats_[i].due > now) continue;
    seats_[i].state = Seat::kRunning;
    due.push_back(i);
  }
  return due;
}

absl::Time Supervision::NextDue() const {
  absl::Time next = absl::InfiniteFuture();
  for (const Seat& seat : seats_) {
    if (seat.state == Seat::kLeft || seat.state == Seat::kWaiting) next = std::min(next, seat.due);
  }
  return next;
}

std::vector<std::string> Supervision::TakeNews() { return std::exchange(news_, {}); }

void Supervision::BelieveDead(size_t process, absl::Time now) {
  Seat& seat = seats_[process];
  news_.push_back(seat.line);
  if (!options_.restart) return LeaveDead(process);
  const absl::StatusOr<absl::Time> due = policy_.OnDeath(process, now);
  if (!due.ok()) {
    seat.state = Seat::kDead;
    return Fail(absl::StrCat(seat.line, "; given up: ", std::string(due.status().message())));
  }
  seat.state = Seat::kWaiting;
  seat.due = *due;
}

void Supervision::LeaveDead(size_t process) {
  Seat& seat = seats_[process];
  seat.state = Seat::kDead;
  if (seat.place.kind == PlaceKind::kCoordinator) return Fail(seat.line);
  if (!AnyHope(seat.place.kind)) Fail(absl::StrCat("no ", NameOf(seat.place.kind), " is left: ", seat.line));
}

// Whether one runs, or may come back.
bool Supervision::AnyHope(PlaceKind kind) const {
  return std::any_of(seats_.begin(), seats_.end(), [kind](const Seat& seat) {
    return seat.place.kind == kind && seat.state != Seat::kDead;
  });
}

void Supervision::Fail(std::string line) {
  if (!failure_.has_value()) failure_ = std::move(line);
}

}  // namespace tessera::cli
