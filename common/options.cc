#include "common/options.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status.h"

namespace tessera {
namespace {

// "from 0 to 1", "of at least 0", ...; empty when every value is allowed.
template <typename T>
std::string RangeText(T min, T max, T lowest, T highest) {
  if (min > lowest && max < highest) return absl::StrCat(" from ", min, " to ", max);
  if (min > lowest) return absl::StrCat(" of at least ", min);
  if (max < highest) return absl::StrCat(" of at most ", max);
  return "";
}

std::string RangeText(double min, double max) {
  // Bounds such as DBL_MAX mean "none" as well as infinity does.
  constexpr double kMax = std::numeric_limits<double>::max();
  return RangeText(min, max, -kMax, kMax);
}

std::string RangeText(int64_t min, int64_t max) {
  using Limits = std::numeric_limits<int64_t>;
  return RangeText(min, max, Limits::min(), Limits::max());
}

// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> before_last;
  std::vector<size_t> last(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    std::vector<size_t> row(b.size() + 1, i);
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    before_last = std::exchange(last, std::move(row));
  }
  return last[b.size()];
}

}  // namespace

Options::Options(std::initializer_list<std::pair<std::string, std::string>> values) {
  for (const auto& [name, value] : values) Set(name, {value, ""});
}

void Options::Set(std::string name, OptionValue value) {
  values_.insert_or_assign(std::move(name), std::move(value));
}

bool Options::Has(absl::string_view name) const { return values_.count(std::string(name)) > 0; }

const OptionValue* Options::Take(absl::string_view name) {
  known_.emplace(name);
  const auto found = values_.find(std::string(name));
  return found == values_.end() ? nullptr : &found->second;
}

absl::StatusOr<const std::string*> Options::TakeScalar(absl::string_view name) {
  const OptionValue* option = Take(name);
  if (option == nullptr) return nullptr;
  const auto* text = std::get_if<std::string>(&option->value);
  if (text == nullptr) return Error(name, absl::StrCat("`", name, "` takes one value, not a list"));
  return text;
}

absl::StatusOr<double> Options::Number(absl::string_view name, double fallback, double min, double max) {
  TESSERA_ASSIGN_OR_RETURN(const std::string* text, TakeScalar(name));
  if (text == nullptr) return fallback;
  double number = 0;
  // absl::SimpleAtod would take `0x10`, `inf` and `nan` as well.
  const bool is_decimal = text->find_first_not_of("0123456789+-.eE") == std::string::npos;
  if (!is_decimal || !absl::SimpleAtod(*text, &number) || !std::isfinite(number) || number < min ||
      number > max) {
    return Error(name,
                 absl::StrCat("`", name, "` must be a number", RangeText(min, max), ", not `", *text, "`"));
  }
  return number;
}

absl::StatusOr<int64_t> Options::Integer(absl::string_view name, int64_t fallback, int64_t min, int64_t max) {
  TESSERA_ASSIGN_OR_RETURN(const std::string* text, TakeScalar(name));
  if (text == nullptr) return fallback;
  int64_t number = 0;
  if (!absl::SimpleAtoi(*text, &number) || number < min || number > max) {
    return Error(name, absl::StrCat("`", name, "` must be a whole number", RangeText(min, max), ", not `",
                                    *text, "`"));
  }
  return number;
}

absl::StatusOr<bool> Options::Bool(absl::string_view name, bool fallback) {
  TESSERA_ASSIGN_OR_RETURN(const std::string* text, TakeScalar(name));
  if (text == nullptr) return fallback;
  if (*text == "true") return true;
  if (*text == "false") return false;
  return Error(name, absl::StrCat("`", name, "` must be true or false, not `", *text, "`"));
}

absl::StatusOr<std::string> Options::String(absl::string_view name, absl::string_view fallback) {
  TESSERA_ASSIGN_OR_RETURN(const std::string* text, TakeScalar(name));
  return text == nullptr ? std::string(fallback) : *text;
}

absl::StatusOr<std::vector<std::string>> Options::StringList(absl::string_view name) {
  const OptionValue* option = Take(name);
  if (option == nullptr) return std::vector<std::string>();
  if (const auto* text = std::get_if<std::string>(&option->value)) return std::vector<std::string>{*text};
  return std::get<std::vector<std::string>>(option->value);
}

absl::StatusOr<double> Options::RequiredNumber(absl::string_view name, double min, double max) {
  TESSERA_RETURN_IF_ERROR(Require(name));
  return Number(name, min, min, max);
}

absl::StatusOr<int64_t> Options::RequiredInteger(absl::string_view name, int64_t min, int64_t max) {
  TESSERA_RETURN_IF_ERROR(Require(name));
  return Integer(name, min, min, max);
}

absl::StatusOr<std::string> Options::RequiredString(absl::string_view name) {
  TESSERA_RETURN_IF_ERROR(Require(name));
  return String(name, "");
}

absl::Status Options::Require(absl::string_view name) {
  if (Take(name) != nullptr) return absl::OkStatus();
  return Error(name, absl::StrCat("missing `", name, "`"));
}

absl::Status Options::Finish(absl::string_view what) const {
  for (const auto& [name, option] : values_) {
    if (known_.count(name) > 0) continue;
    const std::vector<std::string> known(known_.begin(), known_.end());
    const std::string nearest = NearestName(name, known);
    std::string message = absl::StrCat("unknown option `", name, "` of ", what);
    if (!nearest.empty()) {
      absl::StrAppend(&message, "; did you mean `", nearest, "`?");
    } else if (known.empty()) {
      absl::StrAppend(&message, ", which takes none");
    } else {
      absl::StrAppend(&message, " (known: ", absl::StrJoin(known, ", "), ")");
    }
    return Error(name, message);
  }
  return absl::OkStatus();
}

absl::Status Options::Error(absl::string_view name, absl::string_view message) const {
  const auto found = values_.find(std::string(name));
  const std::string& where =
      found != values_.end() && !found->second.where.empty() ? found->second.where : where_;
  const absl::Status error = absl::InvalidArgumentError(message);
  return where.empty() ? error : Annotate(error, where);
}

std::string NearestName(absl::string_view word, const std::vector<std::string>& candidates) {
  std::string nearest;
  size_t nearest_distance = std::numeric_limits<size_t>::max();
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    if (distance * 3 > std::max(word.size(), candidate.size()) || distance >= nearest_distance) continue;
    nearest = candidate;
    nearest_distance = distance;
  }
  return nearest;
}

}  // namespace tessera
