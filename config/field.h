// What a job file may hold: sections (maps) and the fields in them. Each says how it is read, written and
// documented; config/schema.cc lists them.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "config/job_spec.h"
#include "config/yaml_node.h"

namespace tessera {

// A key with a value.
struct Field {
  enum class Kind {
    kOptional,  // absent: what JobSpec{} has
    kRequired,
    kNotBuilt,  // of the design, refused by name
  };

  std::string path;   // "train.batch_size"
  std::string type;   // "whole number", for the manual and "takes a whole number"
  std::string range;  // "from 1 to 65536", or ""
  std::string text;   // one line for the manual
  Kind kind = Kind::kOptional;
  std::string default_text;  // for the manual, where JobSpec{} does not tell

  // Checks the value and sets it in the job. Null where no value is taken: the key is refused.
  // Errors: kInvalidArgument with position and path.
  std::function<absl::Status(const YamlNode&, JobSpec&)> read;
  // The value in the job; kNull when there is none. Null for a key that is not built.
  std::function<YamlNode(const JobSpec&)> write;
};

// A map. It takes the fields and sections whose paths continue its own, and other keys where it is free-form.
struct Section {
  std::string path;  // "train.optimizer"; "" is the file itself
  std::string text;  // one line for the manual
  bool required = false;
  std::string short_form;  // the key that a single value stands for (`device: cpu`), or ""

  // Of a free-form section, for the manual and to get at the options of a job (null: the job lacks the
  // section). Reading creates what is lacking.
  std::string options_text;
  std::function<Options*(JobSpec&)> options;
  std::function<const Options*(const JobSpec&)> options_of;
};

}  // namespace tessera
