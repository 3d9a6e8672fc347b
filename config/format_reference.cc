#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "config/job_loader.h"
#include "config/schema.h"
#include "config/yaml_writer.h"

namespace tessera {
namespace {

constexpr char kIntroduction[] = R"(# Reference of the job file

One YAML file is a job. It is read strictly: an unknown key, a duplicate, a wrong type or a value out of
range is an error with file, line and column. Times carry a unit: `500ms`,
`3s`, `2m`. Sizes may: `512KiB`, `1MB`, `100B`; a bare size is in bytes. Anchors, aliases, tags and values of several lines are refused.

The options of layers, optimizers, schedules and data formats are in [building-blocks.md](building-blocks.md).

Any key can be changed on the command line by `--set KEY=VALUE`, with the value in YAML:
`--set train.epochs=1`, `--set model=resnet20`, `--set train.optimizer.lr=0.1`. To change the mode, its key is
enough, as in `--set train.consistency.mode=async`: what belongs to the file's own mode is left out (`group`,
`staleness`, `drop_stragglers`, corrections that the new mode does not take, `deterministic: true`, a `clip_norm` that is
the mode's own).

`tessera config reference` prints this page, `tessera config show JOB` a job with everything that it leaves
to defaults.
)";

std::string Code(absl::string_view text) { return text.empty() ? "" : absl::StrCat("`", text, "`"); }

// A bar would end the cell.
std::string Row(std::initializer_list<std::string> cells) {
  std::string row = "|";
  for (const std::string& cell : cells)
    absl::StrAppend(&row, " ", absl::StrReplaceAll(cell, {{"|", "\\|"}}), " |");
  return absl::StrCat(row, "\n");
}

std::string Default(const Field& field) {
  if (field.kind == Field::Kind::kRequired) return "required";
  if (!field.default_text.empty()) return field.default_text;
  const YamlNode value = field.write(JobSpec());
  return value.is_null() ? "none" : Code(WriteYamlInline(value));
}

std::string FieldRows(const Section& section) {
  std::string rows;
  for (const Field& field : Schema::Job().fields()) {
    if (Schema::SectionOf(field.path) != section.path || field.kind == Field::Kind::kNotBuilt) continue;
    absl::StrAppend(
        &rows, Row({Code(Schema::KeyOf(field.path)), field.type, Default(field), field.range, field.text}));
  }
  if (section.options) absl::StrAppend(&rows, Row({"...", "values or lists", "", "", section.options_text}));
  return rows;
}

std::string SectionPage(const Section& section) {
  const std::string rows = FieldRows(section);
  const std::string head =
      absl::StrCat("\n## `", section.path, "`\n\n", section.text, section.required ? " Required." : "", "\n");
  if (rows.empty()) return head;
  return absl::StrCat(head, "\n", Row({"key", "type", "default", "range", "meaning"}),
                      "|---|---|---|---|---|\n", rows);
}

// Empty, where everything is built.
std::string NotBuiltPage() {
  std::string rows;
  for (const Field& field : Schema::Job().fields()) {
    if (field.kind != Field::Kind::kNotBuilt) continue;
    absl::StrAppend(&rows, Row({Code(field.path), Code(field.range), field.text}));
  }
  if (rows.empty()) return "";
  return absl::StrCat(
      "\n## Not built yet\n\nThese keys are known and refused by name. Where a value is given, that one is "
      "taken.\n\n",
      Row({"key", "taken", "meaning"}), "|---|---|---|\n", rows);
}

}  // namespace

std::string FormatReference() {
  std::string page = kIntroduction;
  for (const Section& section : Schema::Job().sections()) {
    if (!section.path.empty()) absl::StrAppend(&page, SectionPage(section));
  }
  return absl::StrCat(page, NotBuiltPage());
}

}  // namespace tessera
