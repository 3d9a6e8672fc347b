// constant: the base learning rate from beginning to end. Options: none.
#include "common/status.h"
#include "server/schedule.h"

namespace tessera {
namespace {

class Constant : public Schedule {
 public:
  static absl::StatusOr<std::unique_ptr<Schedule>> Create(Options options, ScheduleContext) {
    TESSERA_RETURN_IF_ERROR(options.Finish("schedule `constant`"));
    return std::make_unique<Constant>();
  }

  double Factor(double) const override { return 1; }
};

const ScheduleRegistry::Entry kEntry("constant", &Constant::Create);

}  // namespace
}  // namespace tessera
