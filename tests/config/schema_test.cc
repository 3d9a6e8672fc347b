#include "config/schema.h"

#include <set>

#include "gtest/gtest.h"

namespace tessera {
namespace {

TEST(Schema, EveryPathIsListedOnceAndLiesInASection) {
  const Schema& schema = Schema::Job();
  std::set<std::string> seen;
  for (const Section& section : schema.sections()) {
    EXPECT_TRUE(seen.insert(section.path).second) << section.path;
    EXPECT_TRUE(seen.count(std::string(Schema::SectionOf(section.path)))) << section.path;
  }
  for (const Field& field : schema.fields()) {
    EXPECT_TRUE(seen.insert(field.path).second) << field.path;
    EXPECT_NE(schema.FindSection(Schema::SectionOf(field.path)), nullptr) << field.path;
  }
}

TEST(Schema, EveryKeyHasOneLineForTheManual) {
  for (const Field& field : Schema::Job().fields()) {
    EXPECT_FALSE(field.text.empty()) << field.path;
    EXPECT_EQ(field.text.find('\n'), std::string::npos) << field.path;
  }
}

TEST(Schema, EveryDefaultIsInItsRange) {
  for (const Field& field : Schema::Job().fields()) {
    if (!field.write || field.kind == Field::Kind::kRequired || !field.default_text.empty()) continue;
    const YamlNode value = field.write(JobSpec());
    if (value.is_null()) continue;
    JobSpec job;
    const absl::Status status = field.read(value, job);
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST(Schema, SectionTakesItsOwnKeysOnly) {
  const Schema& schema = Schema::Job();
  const std::vector<std::string> keys = schema.Keys(*schema.FindSection("data"));
  EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()),
            (std::set<std::string>{"train", "test", "normalize", "augment"}));
  EXPECT_EQ(schema.FindSection("data.validation"), nullptr);
  EXPECT_EQ(schema.FindField("data.train"), nullptr);
}

}  // namespace
}  // namespace tessera
