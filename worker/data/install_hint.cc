#include "worker/data/install_hint.h"

#include <filesystem>

#include "absl/strings/str_cat.h"

namespace tessera {
namespace {

struct Package {
  const char* name;
  const char* data_set;
  const char* folder;  // absolute, with a slash at its end
};

constexpr Package kPackages[] = {
    {"dataset-fashion-mnist", "Fashion-MNIST", "/usr/share/datasets/fashion-mnist/"}};

}  // namespace

std::string InstallHint(const std::string& folder) {
  // The "." leaves a slash at the end, whether or not `folder` has one.
  const std::string normal = (std::filesystem::path(folder) / ".").lexically_normal().string();
  std::string others;
  for (const Package& package : kPackages) {
    if (normal == package.folder)
      return absl::StrCat("; install it with `apt-get install ", package.name, "`");
    absl::StrAppend(&others, "; ", package.data_set, " comes with `apt-get install ", package.name, "`, in ",
                    package.folder);
  }
  return others;
}

}  // namespace tessera
