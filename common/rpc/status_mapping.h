// absl::Status to grpc::Status and back; the one file that knows both. Codes agree by number.
#pragma once

#include "absl/status/status.h"

namespace grpc {
class Status;
}

namespace tessera {

grpc::Status ToGrpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace tessera
