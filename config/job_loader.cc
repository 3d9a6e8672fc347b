#include "config/job_loader.h"

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/file.h"
#include "common/status.h"
#include "config/cluster_rules.h"
#include "config/consistency_rules.h"
#include "config/job_reader.h"
#include "config/overrides.h"
#include "config/schema.h"
#include "config/yaml_parser.h"

namespace tessera {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 20;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  if (file.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", file.size(), " bytes are too many for a job (at most 1 MiB)"));
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  auto* bytes = reinterpret_cast<uint8_t*>(text.data());
  TESSERA_RETURN_IF_ERROR(file.ReadAt(0, absl::MakeSpan(bytes, text.size())));
  return text;
}

// cluster.workers as the file has it, before overrides; only this field of it is looked at.
absl::StatusOr<int32_t> FileWorkers(const YamlNode& file) {
  JobSpec job;
  const YamlNode* cluster = file.Find("cluster");
  const YamlNode* workers = cluster == nullptr ? nullptr : cluster->Find("workers");
  if (workers != nullptr) {
    TESSERA_RETURN_IF_ERROR(Schema::Job().FindField("cluster.workers")->read(*workers, job));
  }
  return job.cluster.workers;
}

// `file` with `overrides` in it. Where they name another mode, what belongs to the file's own one is left.
absl::StatusOr<YamlNode> WithOverrides(YamlNode file, const std::vector<Override>& overrides) {
  YamlNode changed = file;
  for (const Override& change : overrides) TESSERA_RETURN_IF_ERROR(ApplyOverride(change, changed));
  const std::string mode = ModeOf(changed);
  if (mode == ModeOf(file)) return changed;
  LeaveOwnMode(mode, file);
  for (const Override& change : overrides) TESSERA_RETURN_IF_ERROR(ApplyOverride(change, file));
  return file;
}

}  // namespace

absl::StatusOr<JobSpec> LoadJobFile(const std::string& path, const std::vector<Override>& overrides) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (text.ok()) return LoadJobText(*text, path, overrides);
  // For whoever typed the path, a file that cannot be read is an argument that is no good.
  return absl::IsNotFound(text.status()) ? text.status()
                                         : absl::InvalidArgumentError(text.status().message());
}

absl::StatusOr<JobSpec> LoadJobText(const std::string& text, const std::string& name,
                                    const std::vector<Override>& overrides) {
  TESSERA_ASSIGN_OR_RETURN(const YamlNode file, ParseYaml(text, name));
  if (file.is_null()) return ErrorAt(absl::StrCat(name, ":1:1"), "the file is empty: it holds no job");
  // Overrides need a map to go into; what else a file may be is the reader's to refuse.
  if (!file.is_map()) return ReadJob(file);
  TESSERA_ASSIGN_OR_RETURN(const int32_t workers, FileWorkers(file));
  TESSERA_ASSIGN_OR_RETURN(const YamlNode changed, WithOverrides(file, overrides));
  TESSERA_ASSIGN_OR_RETURN(JobSpec job, ReadJob(changed));
  if (job.train.replicas == 0) job.train.replicas = workers;
  TESSERA_RETURN_IF_ERROR(ResolveConsistency(changed, job));
  TESSERA_RETURN_IF_ERROR(CheckCluster(changed, job));
  return job;
}

}  // namespace tessera
