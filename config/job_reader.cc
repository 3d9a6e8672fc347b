#include "config/job_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status.h"
#include "config/field_types.h"
#include "config/free_form.h"
#include "config/key_errors.h"

namespace tessera {
namespace {

class Reader {
 public:
  explicit Reader(JobSpec* job) : schema_(Schema::Job()), job_(job) {}

  absl::Status ReadSection(const Section& section, const YamlNode& value) {
    if (value.is_scalar() && !section.short_form.empty()) {
      return ReadSection(section, ExpandShortForm(section, value));
    }
    if (!value.is_map()) return NotAMap(section, value);
    if (section.options) section.options(*job_)->set_where(value.where);
    for (const YamlEntry& entry : value.entries) TESSERA_RETURN_IF_ERROR(ReadEntry(section, entry));
    return CheckRequired(section, value);
  }

 private:
  absl::Status ReadEntry(const Section& section, const YamlEntry& entry) {
    // A path is no key: `train.epochs: 1` at the top is not what it looks like.
    const bool may_be_listed = !entry.key.empty() && entry.key.find('.') == std::string::npos;
    const std::string path = Schema::Join(section.path, entry.key);
    const Section* inner = may_be_listed ? schema_.FindSection(path) : nullptr;
    if (inner != nullptr) return ReadSection(*inner, entry.value);
    const Field* field = may_be_listed ? schema_.FindField(path) : nullptr;
    if (field != nullptr && !field->read) return NotBuiltError(entry.where, absl::StrCat("`", path, "`"));
    if (field != nullptr) return field->read(entry.value, *job_);
    if (section.options) return ReadFreeForm(section, entry);
    return UnknownKeyError(section.path, entry, schema_.Keys(section));
  }

  // What is no option may be a key of the section, misspelt: `layer: [...]`.
  absl::Status ReadFreeForm(const Section& section, const YamlEntry& entry) {
    absl::Status status = ReadOption(section.path, entry, *section.options(*job_));
    const std::vector<std::string> keys = schema_.Keys(section);
    if (status.ok() || NearestHint(entry.key, keys).empty()) return status;
    return UnknownKeyError(section.path, entry, keys);
  }

  absl::Status CheckRequired(const Section& section, const YamlNode& map) const {
    for (const std::string& key : schema_.Keys(section)) {
      const std::string path = Schema::Join(section.path, key);
      const Field* field = schema_.FindField(path);
      const bool required =
          field == nullptr ? schema_.FindSection(path)->required : field->kind == Field::Kind::kRequired;
      if (required && map.Find(key) == nullptr) return MissingKeyError(section.path, key, map);
    }
    return absl::OkStatus();
  }

  absl::Status NotAMap(const Section& section, const YamlNode& value) const {
    const std::string keys = absl::StrJoin(schema_.Keys(section), ", ");
    if (!section.path.empty()) return TypeError(section.path, absl::StrCat("a map (of ", keys, ")"), value);
    return ErrorAt(value.where, absl::StrCat("a job is a map (of ", keys, "), found ", Describe(value)));
  }

  const Schema& schema_;
  JobSpec* const job_;
};

absl::Status CheckModel(const YamlNode& file, const ModelSpec& model) {
  const std::string where = file.WhereOf("model");
  if (!model.replace.empty() && model.weights.empty()) {
    return ErrorAt(
        file.WhereOf("model.replace"),
        "`model.replace` says what `model.weights` does not fill, and there is none: leave it out");
  }
  if (model.name.empty() && model.layers.empty()) return ErrorAt(where, "`model` needs a `name` or `layers`");
  if (model.layers.empty()) return absl::OkStatus();
  if (!model.name.empty()) return ErrorAt(where, "`model` takes a `name` or `layers`, not both");
  if (model.options.values().empty()) return absl::OkStatus();
  const auto& [key, option] = *model.options.values().begin();
  return UnknownKeyError("model", {key, option.where, YamlNode()}, {"layers", "weights", "replace"});
}

absl::Status CheckDevice(const YamlNode& file, const DeviceSpec& device) {
  if (device.kind != "reference" || device.threads == 1) return absl::OkStatus();
  return ErrorAt(file.WhereOf("device.threads"), absl::StrCat("`device.threads` is ", device.threads,
                                                              ", but the device `reference` has one"));
}

}  // namespace

absl::StatusOr<JobSpec> ReadJob(const YamlNode& file) {
  JobSpec job;
  TESSERA_RETURN_IF_ERROR(Reader(&job).ReadSection(*Schema::Job().FindSection(""), file));
  TESSERA_RETURN_IF_ERROR(CheckModel(file, job.model));
  TESSERA_RETURN_IF_ERROR(CheckDevice(file, job.device));
  return job;
}

YamlNode ExpandShortForm(const Section& section, const YamlNode& value) {
  if (!value.is_scalar() || section.short_form.empty()) return value;
  YamlNode map = YamlNode::Map(value.where);
  map.entries.push_back({section.short_form, value.where, value});
  return map;
}

}  // namespace tessera
