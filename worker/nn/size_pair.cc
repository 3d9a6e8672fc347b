#include "worker/nn/size_pair.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera::nn {
namespace {

// One of the list's numbers, with the errors of the list's place.
absl::StatusOr<int64_t> ReadSize(const Options& options, const std::string& name, const std::string& text,
                                 int64_t min, int64_t max) {
  Options single;
  single.Set(name, {text, options.values().at(name).where});
  return single.RequiredInteger(name, min, max);
}

}  // namespace

absl::StatusOr<SizePair> RequiredSizePair(Options& options, absl::string_view name, int64_t min,
                                          int64_t max) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<std::string> texts, options.StringList(name));
  if (texts.size() <= 1) {
    TESSERA_ASSIGN_OR_RETURN(const int64_t both, options.RequiredInteger(name, min, max));
    return SizePair{both, both};
  }
  if (texts.size() != 2) {
    return options.Error(name, absl::StrCat("`", name, "` is one number, or a list of height and width, not ",
                                            texts.size(), " numbers"));
  }
  const std::string key(name);
  TESSERA_ASSIGN_OR_RETURN(const int64_t h, ReadSize(options, key, texts[0], min, max));
  TESSERA_ASSIGN_OR_RETURN(const int64_t w, ReadSize(options, key, texts[1], min, max));
  return SizePair{h, w};
}

}  // namespace tessera::nn
