#include "common/rpc/lost_calls.h"

#include <utility>

namespace tessera {
namespace {

using grpc::experimental::InterceptionHookPoints;

// Of one call, which is lost. Hijacked: gRPC asks it for the answer.
class LostCall : public grpc::experimental::Interceptor {
 public:
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      return methods->Hijack();
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_RECV_MESSAGE)) {
      methods->FailHijackedRecvMessage();
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_RECV_STATUS)) {
      *methods->GetRecvStatus() =
          grpc::Status(grpc::StatusCode::UNAVAILABLE, "the call was lost on purpose (--fault-loss)");
    }
    methods->Proceed();
  }
};

class Factory : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit Factory(std::shared_ptr<LinkFaults> faults) : faults_(std::move(faults)) {}
  // gRPC owns what this returns.
  grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo* info) override {
    const bool unary = info->type() == grpc::experimental::ClientRpcInfo::Type::UNARY;
    return unary && faults_->LosesCall() ? new LostCall : nullptr;
  }

 private:
  const std::shared_ptr<LinkFaults> faults_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface> LoseCalls(
    std::shared_ptr<LinkFaults> faults) {
  return std::make_unique<Factory>(std::move(faults));
}

}  // namespace tessera
