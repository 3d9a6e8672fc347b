#include "worker/data/idx.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/data/install_hint.h"

namespace tessera {
namespace {

// The plain or the compressed file `name` of the data set.
absl::StatusOr<std::string> FindFile(const Options& options, const std::string& folder,
                                     const std::string& name) {
  for (const char* ending : {"", ".gz"}) {
    const std::filesystem::path candidate = std::filesystem::path(folder) / absl::StrCat(name, ending);
    std::error_code error;
    if (std::filesystem::exists(candidate, error)) return candidate.string();
  }
  const absl::Status positioned =
      options.Error("path", absl::StrCat("no data set in ", folder, ": neither ", name, " nor ", name,
                                         ".gz is there", InstallHint(folder)));
  return absl::NotFoundError(positioned.message());
}

absl::StatusOr<std::string> FilePrefix(Options* options) {
  TESSERA_ASSIGN_OR_RETURN(const std::string split, options->RequiredString("split"));
  if (split == "train") return std::string("train");
  if (split == "test") return std::string("t10k");
  return options->Error("split", absl::StrCat("`split` must be train or test, not `", split, "`"));
}

}  // namespace

IdxDataset::IdxDataset(IdxArray images, IdxArray labels)
    : images_(std::move(images)),
      labels_(std::move(labels)),
      inputs_({{nn::kImageName, {1, images_.dimensions[1], images_.dimensions[2]}}}),
      classes_(1 + *std::max_element(labels_.values.begin(), labels_.values.end())) {}

InputValues IdxDataset::Values(uint32_t index, size_t /*input*/) const {
  const auto length = static_cast<size_t>(NumElements(inputs_[0].shape));
  return absl::MakeConstSpan(images_.values).subspan(index * length, length);
}

absl::StatusOr<std::unique_ptr<Dataset>> IdxDataset::Create(Options options) {
  TESSERA_ASSIGN_OR_RETURN(const std::string folder, options.RequiredString("path"));
  TESSERA_ASSIGN_OR_RETURN(const std::string prefix, FilePrefix(&options));
  TESSERA_RETURN_IF_ERROR(options.Finish("data format `idx`"));
  TESSERA_ASSIGN_OR_RETURN(const std::string image_file,
                           FindFile(options, folder, absl::StrCat(prefix, "-images-idx3-ubyte")));
  TESSERA_ASSIGN_OR_RETURN(const std::string label_file,
                           FindFile(options, folder, absl::StrCat(prefix, "-labels-idx1-ubyte")));
  TESSERA_ASSIGN_OR_RETURN(IdxArray images, ReadIdxFile(image_file, 3));
  TESSERA_ASSIGN_OR_RETURN(IdxArray labels, ReadIdxFile(label_file, 1));
  if (images.dimensions[0] != labels.dimensions[0]) {
    return absl::DataLossError(absl::StrCat(image_file, " has ", images.dimensions[0], " images, ",
                                            label_file, " has ", labels.dimensions[0], " labels"));
  }
  return std::unique_ptr<Dataset>(new IdxDataset(std::move(images), std::move(labels)));
}

namespace {
const DatasetRegistry::Entry kEntry("idx", &IdxDataset::Create);
}  // namespace

}  // namespace tessera
