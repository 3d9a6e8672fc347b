#include "tests/integration/synthetic_job.h"

#include <cstdint>
#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/status.h"
#include "config/job_loader.h"

namespace tessera {
namespace {

void AppendBigEndian(uint32_t value, std::string* out) {
  for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift & 0xff));
}

absl::Status WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return file.good() ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("cannot write ", path));
}

absl::Status WriteSplit(const std::string& folder, const std::string& prefix, int count, uint32_t split) {
  constexpr int kSide = 28;
  const RandomStream noise(7, RandomPurpose::kAugmentation, split);
  std::string images;
  std::string labels;
  AppendBigEndian(0x00000803, &images);
  for (int dimension : {count, kSide, kSide}) AppendBigEndian(static_cast<uint32_t>(dimension), &images);
  AppendBigEndian(0x00000801, &labels);
  AppendBigEndian(static_cast<uint32_t>(count), &labels);
  uint64_t draw = 0;
  for (int i = 0; i < count; ++i) {
    const auto label = static_cast<int>(noise.Below(draw++, 10));
    labels.push_back(static_cast<char>(label));
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        const bool on = (x / (label % 5 + 2) + y / (label / 2 + 2)) % 2 == 0;
        images.push_back(static_cast<char>((on ? 120 : 10) + noise.Below(draw++, 100)));
      }
    }
  }
  TESSERA_RETURN_IF_ERROR(WriteFile(absl::StrCat(folder, "/", prefix, "-images-idx3-ubyte"), images));
  return WriteFile(absl::StrCat(folder, "/", prefix, "-labels-idx1-ubyte"), labels);
}

}  // namespace

absl::Status WriteSyntheticData(const std::string& folder, int train, int test) {
  TESSERA_RETURN_IF_ERROR(WriteSplit(folder, "train", train, 1));
  return WriteSplit(folder, "t10k", test, 2);
}

std::string SyntheticJobText(const std::string& folder, const std::string& model, int replicas,
                             int batch_size, int seed) {
  return absl::StrCat(
      "job: { name: synthetic, seed: ", seed, " }\nmodel: ", model,
      "\ndata:\n  train: { format: idx, path: ", folder,
      ", split: train }\n  test: { format: idx, path: ", folder,
      ", split: test }\ntrain:\n  replicas: ", replicas, "\n  batch_size: ", batch_size,
      "\n  epochs: 1\n  optimizer: { name: momentum, lr: 0.02, momentum: 0.9, weight_decay: 5e-4 }\n"
      "  schedule: { name: cosine, warmup: 5 steps }\n  consistency: { mode: sync }\n"
      "cluster: { servers: 1, workers: 1, shard_bytes: 64KiB }\n");
}

absl::StatusOr<SyntheticJob> MakeSyntheticJob(const std::string& text) {
  TESSERA_ASSIGN_OR_RETURN(const JobSpec job, LoadJobText(text, "synthetic.yaml", {}));
  SyntheticJob result;
  TESSERA_ASSIGN_OR_RETURN(result.data, OpenJobData(job.data));
  TESSERA_ASSIGN_OR_RETURN(result.plan, MakeJobPlan(job, result.data));
  return result;
}

}  // namespace tessera
