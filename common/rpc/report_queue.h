// What a node has to tell the coordinator and has not been able to: in order, with a limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <variant>

#include "proto/coordinator_service.pb.h"

namespace tessera {

// Not thread-safe. The first report may be looked at, sent without a lock, and taken out by its number: by
// then newer ones may have pushed it out.
class ReportQueue {
 public:
  static constexpr size_t kMost = 64;

  using Request = std::variant<wire::ReportEvaluationRequest, wire::ReportCheckpointRequest>;
  struct Report {
    int64_t number = 0;
    Request request;
  };

  // False: it was full, and the oldest is lost.
  bool Add(Request request) {
    const bool full = reports_.size() >= kMost;
    if (full) reports_.pop_front();
    reports_.push_back({next_number_++, std::move(request)});
    return !full;
  }
  bool empty() const { return reports_.empty(); }
  const Report& front() const { return reports_.front(); }
  void Remove(int64_t number) {
    if (!empty() && front().number == number) reports_.pop_front();
  }

 private:
  int64_t next_number_ = 0;
  std::deque<Report> reports_;
};

}  // namespace tessera
