// The types that fields of a job have: each makes a Field from a path, a way to the member, and its text.
// A member is a generic lambda or functor from a job (const or not) to a reference into it; see In().
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/status.h"
#include "common/units.h"
#include "config/field.h"

namespace tessera {

// The way to job.*outer.*inner: In(&JobSpec::train, &TrainSpec::epochs).
template <typename Outer, typename Inner>
auto In(Outer outer, Inner inner) {
  return [=](auto& job) -> auto& { return (job.*outer).*inner; };
}

// "`train.epochs` takes a whole number, found a list", at the value.
absl::Status TypeError(const std::string& path, absl::string_view type, const YamlNode& value);

// "`train.epochs` is `0`, it must be from 1 to 100000", at the value.
absl::Status RangeError(const std::string& path, absl::string_view range, const YamlNode& value);

// A text of digits, perhaps behind a minus.
bool IsWholeNumber(const YamlNode& value);

// A finite number as the shortest text that reads back the same.
std::string FormatNumber(double number);

// Errors of these: kInvalidArgument, TypeError or RangeError.
// `type` is what messages say is taken: "a number", or "numbers" of a list's items.
absl::StatusOr<double> ReadNumber(const std::string& path, absl::string_view type, double min, double max,
                                  const YamlNode& value);
absl::StatusOr<bool> ReadBool(const std::string& path, const YamlNode& value);
absl::StatusOr<std::string> ReadText(const std::string& path, const YamlNode& value);
// One text, or a list of at least one; `type` is what messages say is taken.
absl::StatusOr<std::vector<std::string>> ReadTexts(const std::string& path, absl::string_view type,
                                                   const YamlNode& value);
absl::StatusOr<int64_t> ReadBytes(const std::string& path, int64_t min, int64_t max, const YamlNode& value);
absl::StatusOr<absl::Duration> ReadDuration(const std::string& path, absl::Duration min, absl::Duration max,
                                            const YamlNode& value);
template <typename T>
absl::StatusOr<T> ReadInteger(const std::string& path, T min, T max, const YamlNode& value) {
  if (!IsWholeNumber(value)) return TypeError(path, "a whole number", value);
  T number = 0;
  if (!absl::SimpleAtoi(value.text, &number) || number < min || number > max) {
    return RangeError(path, absl::StrCat("from ", min, " to ", max), value);
  }
  return number;
}

// The words that a choice has, now and later.
struct Words {
  std::vector<std::string> built;
  std::vector<std::string> not_built;  // also with a suffix behind a colon: `cuda:0`
};
// "cpu, reference (not built yet: cuda)", for the manual.
std::string WordsText(const Words& words);
absl::StatusOr<std::string> ReadWord(const std::string& path, const Words& words, const YamlNode& value);

// A whole number of the member's type, from `min` to `max`.
template <typename Member>
Field Integer(std::string path, Member member, std::decay_t<std::invoke_result_t<Member, JobSpec&>> min,
              std::decay_t<std::invoke_result_t<Member, JobSpec&>> max, std::string text) {
  Field field{path, "whole number", absl::StrCat("from ", min, " to ", max), std::move(text)};
  field.read = [=](const YamlNode& value, JobSpec& job) {
    TESSERA_ASSIGN_OR_RETURN(member(job), ReadInteger(path, min, max, value));
    return absl::OkStatus();
  };
  field.write = [=](const JobSpec& job) { return YamlNode::Scalar(absl::StrCat(member(job))); };
  return field;
}

// A finite number.
template <typename Member>
Field Number(std::string path, Member member, double min, double max, std::string text) {
  Field field{path, "number", absl::StrCat("from ", FormatNumber(min), " to ", FormatNumber(max)),
              std::move(text)};
  field.read = [=](const YamlNode& value, JobSpec& job) {
    TESSERA_ASSIGN_OR_RETURN(member(job), ReadNumber(path, "a number", min, max, value));
    return absl::OkStatus();
  };
  field.write = [=](const JobSpec& job) { return YamlNode::Scalar(FormatNumber(member(job))); };
  return field;
}

// `true` or `false`.
template <typename Member>
Field Bool(std::string path, Member member, std::string text) {
  Field field{path, "true or false", "", std::move(text)};
  field.read = [=](const YamlNode& value, JobSpec& job) {
    TESSERA_ASSIGN_OR_RETURN(member(job), ReadBool(path, value));
    return absl::OkStatus();
  };
  field.write = [=](const JobSpec& job) { return YamlNode::Scalar(member(job) ? "true" : "false"); };
  return field;
}

// A size with its unit.
template <typename Member>
Field Bytes(std::string path, Member member, int64_t min, int64_t max, std::string text) {
  Field field{path, "size", absl::StrCat("from ", FormatBytes(min), " to ", FormatBytes(max)),
              std::move(text)};
  field.read = [=](const YamlNode& value, JobSpec& job) {
    TESSERA_ASSIGN_OR_RETURN(member(job), ReadBytes(path, min, max, value));
    return absl::OkStatus();
  };
  field.write = [=](const JobSpec& job) { return YamlNode::Scalar(FormatBytes(member(job))); };
  return field;
}

// A time with its unit.
template <typename Member>
Field Duration(std::string path, Member member, absl::Duration min, absl::Duration max, std::string text) {
  Field field{path, "time",
              absl::StrCat("from ", absl::FormatDuration(min), " to ", absl::FormatDuration(max)),
              std::move(text)};
  field.read = [=](const YamlNode& value, JobSpec& job) {
    TESSERA_ASSIGN_OR_RETURN(member(job), ReadDuration(path, min, max, value));
    return absl::OkStatus();
  };
  field.write = [=](const JobSpec& job) { return YamlNode::Scalar(absl::FormatDuration(member(job))); };
  return field;
}

// One word of a few.
template <typename Member>
Field Choice(std::string path, Member member, Words words, std::string text) {
  Field field{path, "word", WordsText(words), std::move(text)};
  field.read = [=](const YamlNode& value, JobSpec& job) {
    TESSERA_ASSIGN_OR_RETURN(member(job), ReadWord(path, words, value));
    return absl::OkStatus();
  };
  field.write = [=](const JobSpec& job) { return YamlNode::Scalar(member(job)); };
  return field;
}

// A text of which `check` (absl::Status(const std::string&), a message without position) approves.
template <typename Member, typename Check>
Field Text(std::string path, Member member, std::string type, Check check, std::string text) {
  Field field{path, std::move(type), "", std::move(text)};
  field.read = [=](const YamlNode& value, JobSpec& job) -> absl::Status {
    TESSERA_ASSIGN_OR_RETURN(std::string word, ReadText(path, value));
    if (absl::Status status = check(word); !status.ok()) {
      return ErrorAt(value.where, absl::StrCat("`", path, "`: ", status.message()));
    }
    member(job) = std::move(word);
    return absl::OkStatus();
  };
  field.write = [=](const JobSpec& job) { return YamlNode::Scalar(member(job)); };
  return field;
}

// The name of a NamedOptions. `find` gives a pointer to it from a job (const or not): made when lacking, null
// when it lacks and the job is const.
template <typename Find>
Field Name(std::string path, Find find, std::string text) {
  Field field{path, "name", "", std::move(text)};
  field.read = [=](const YamlNode& value, JobSpec& job) -> absl::Status {
    TESSERA_ASSIGN_OR_RETURN(find(job)->name, ReadText(path, value));
    find(job)->where = value.where;
    return absl::OkStatus();
  };
  field.write = [=](const JobSpec& job) {
    const NamedOptions* named = find(job);
    return named == nullptr || named->name.empty() ? YamlNode() : YamlNode::Scalar(named->name);
  };
  return field;
}

// A key of the design whose feature is not built: any value is refused.
Field NotBuilt(std::string path, std::string text);

// The same field, without which its section is refused.
Field Required(Field field);

}  // namespace tessera
