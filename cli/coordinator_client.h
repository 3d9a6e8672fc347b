// What the command asks a coordinator, with a deadline on every call.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/coordinator_service.pb.h"

namespace tessera::cli {

inline constexpr absl::Duration kCallTimeout = absl::Seconds(3);

// Thread-safe. Each call blocks for at most `timeout`. The first ReportExit starts a thread, which the
// destructor joins; what it has under way ends.
class CoordinatorClient {
 public:
  explicit CoordinatorClient(const std::string& address);
  ~CoordinatorClient();

  // Errors: kUnavailable or kDeadlineExceeded, nobody answers; both name the address.
  absl::StatusOr<wire::JobStatus> GetStatus(absl::Duration timeout = kCallTimeout);
  absl::Status Stop(absl::Duration timeout = kCallTimeout);
  // Tells it how process `pid` of this machine ended, without waiting: best effort, for at most `timeout`, in
  // which the coordinator may also come back.
  void ReportExit(int64_t pid, const std::string& message, absl::Duration timeout = kCallTimeout);
  // The clock that a checkpoint will be taken at.
  absl::StatusOr<int64_t> TakeCheckpoint(absl::Duration timeout = kCallTimeout);

 private:
  struct Stub;  // keeps gRPC's headers out of here
  const std::string address_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace tessera::cli
