// Calls of a channel that fail before they are sent, as LinkFaults draws.
#pragma once

#include <grpcpp/support/client_interceptor.h>

#include <memory>

#include "common/fault/link_faults.h"

namespace tessera {

// Makes a unary call of the channel fail with UNAVAILABLE where faults->LosesCall().
std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface> LoseCalls(
    std::shared_ptr<LinkFaults> faults);

}  // namespace tessera
