// `tessera eval`: a model file on a job's test set, without a cluster.
#pragma once

#include <string>
#include <vector>

#include "cli/console.h"

namespace tessera::cli {

// Prints accuracy and loss of `model` (safetensors). Works in the chunks and the order of training's
// evaluation, on the job's device, so the results equal those of the run's summary to the last bit. Returns
// the exit code.
int EvaluateModel(const std::string& job, const std::string& model, const std::vector<std::string>& settings,
                  const Console& console);

}  // namespace tessera::cli
