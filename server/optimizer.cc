#include "server/optimizer.h"

#include <utility>

#include "common/status.h"

namespace tessera {

absl::StatusOr<OptimizerPair> CreateOptimizers(const std::string& name, Options options) {
  TESSERA_ASSIGN_OR_RETURN(const bool decay_all, options.Bool("decay_bias_and_norm", true));
  OptimizerPair pair;
  TESSERA_ASSIGN_OR_RETURN(pair.all, OptimizerRegistry::Create("optimizer", name, options));
  if (decay_all || pair.all->weight_decay() == 0) return pair;
  options.Set("weight_decay", {"0", ""});
  TESSERA_ASSIGN_OR_RETURN(pair.undecayed, OptimizerRegistry::Create("optimizer", name, std::move(options)));
  return pair;
}

}  // namespace tessera
