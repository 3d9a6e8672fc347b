// The free-form part of a job: options that a layer, an optimizer, a schedule or a data format reads by name.
// Each value remembers where it stood, and what nobody read is an error that names the nearest key.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tessera {

struct OptionValue {
  // A scalar as written, or a list of scalars. Types are decided by the reader.
  std::variant<std::string, std::vector<std::string>> value;
  std::string where;  // "job.yaml:12:3", or empty when made by a program
};

// Named values, read once each. Copyable; the set of read names is copied too.
class Options {
 public:
  Options() = default;
  // For programs and tests: Options({{"lr", "0.1"}}).
  Options(std::initializer_list<std::pair<std::string, std::string>> values);

  void Set(std::string name, OptionValue value);
  void set_where(std::string where) { where_ = std::move(where); }
  bool Has(absl::string_view name) const;
  const std::map<std::string, OptionValue>& values() const { return values_; }

  // The named option or `fallback`; marks it read.
  // Errors: kInvalidArgument with position: not of the type, or outside [min, max].
  absl::StatusOr<double> Number(absl::string_view name, double fallback, double min, double max);
  absl::StatusOr<int64_t> Integer(absl::string_view name, int64_t fallback, int64_t min, int64_t max);
  absl::StatusOr<bool> Bool(absl::string_view name, bool fallback);
  absl::StatusOr<std::string> String(absl::string_view name, absl::string_view fallback);
  // A single value counts as a list of one; an absent option is the empty list.
  absl::StatusOr<std::vector<std::string>> StringList(absl::string_view name);
  // As above, but an absent option is kInvalidArgument ("missing `lr`").
  absl::StatusOr<double> RequiredNumber(absl::string_view name, double min, double max);
  absl::StatusOr<int64_t> RequiredInteger(absl::string_view name, int64_t min, int64_t max);
  absl::StatusOr<std::string> RequiredString(absl::string_view name);

  // Errors: kInvalidArgument for the first option that was never read, with position and the nearest known
  // key. `what` names the reader: "optimizer `momentum`".
  absl::Status Finish(absl::string_view what) const;

  // `message` with the position of option `name` (or of the whole) in front.
  absl::Status Error(absl::string_view name, absl::string_view message) const;

 private:
  const OptionValue* Take(absl::string_view name);
  absl::StatusOr<const std::string*> TakeScalar(absl::string_view name);  // null when absent
  absl::Status Require(absl::string_view name);

  std::map<std::string, OptionValue> values_;
  std::set<std::string> known_;  // names that were asked for
  std::string where_;
};

// The candidate with the smallest edit distance to `word`, or "" when more than a third differs.
std::string NearestName(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace tessera
