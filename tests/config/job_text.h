// The smallest job, to change a line of.
#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "config/job_loader.h"

namespace tessera {

constexpr char kSmallJob[] = R"(job: { name: small }
model: lenet5
data:
  train: { format: idx, path: /data, split: train }
train:
  optimizer: { name: sgd, lr: 0.1 }
)";

// kSmallJob with `lines` behind; its own lines are 1 to 6, and line 7 is the first of `lines`.
inline std::string SmallJobWith(const std::string& lines) { return absl::StrCat(kSmallJob, lines); }

// The message for a job named bad.yaml; "loaded" when it was accepted.
inline std::string ErrorOf(const std::string& text, const std::vector<Override>& overrides = {}) {
  const absl::StatusOr<JobSpec> job = LoadJobText(text, "bad.yaml", overrides);
  return job.ok() ? "loaded" : std::string(job.status().message());
}

}  // namespace tessera
