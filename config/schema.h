// Everything that a job file may hold, once: the loader, the writer and the manual work from this list alone.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "config/field.h"

namespace tessera {

// Immutable. Fields and sections stand in the order of the manual; a section stands before what is in it.
class Schema {
 public:
  // The one schema of jobs.
  static const Schema& Job();

  const std::vector<Section>& sections() const { return sections_; }
  const std::vector<Field>& fields() const { return fields_; }

  // Null when there is none of that path.
  const Section* FindSection(absl::string_view path) const;
  const Field* FindField(absl::string_view path) const;

  // The keys that `section` takes, free-form ones not counted.
  std::vector<std::string> Keys(const Section& section) const;

  // "train.epochs" of "train" and "epochs".
  static std::string Join(absl::string_view section, absl::string_view key);
  // The section that a path lies in ("train", or "" for the file), and the key in it.
  static absl::string_view SectionOf(absl::string_view path);
  static absl::string_view KeyOf(absl::string_view path);

 private:
  Schema(std::vector<Section> sections, std::vector<Field> fields);
  const std::vector<Section> sections_;
  const std::vector<Field> fields_;
};

}  // namespace tessera
