#include <fstream>
#include <sstream>

#include "config/job_loader.h"
#include "config/schema.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

std::string ReadPage() {
  std::ifstream file(TESSERA_SOURCE_DIR "/docs/job-reference.md", std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(FormatReference, PageInDocsIsUpToDate) {
  EXPECT_TRUE(ReadPage() == FormatReference())
      << "write it again: build/bin/tessera config reference > docs/job-reference.md";
}

TEST(FormatReference, NamesEveryKey) {
  const std::string page = FormatReference();
  for (const Field& field : Schema::Job().fields()) {
    const std::string key =
        field.kind == Field::Kind::kNotBuilt ? field.path : std::string(Schema::KeyOf(field.path));
    EXPECT_THAT(page, HasSubstr("| `" + key + "` |"));
    EXPECT_THAT(page, HasSubstr(field.text));
  }
}

TEST(FormatReference, TellsDefaultsAndRanges) {
  const std::string page = FormatReference();
  EXPECT_THAT(page, HasSubstr("| `batch_size` | whole number | `64` | from 1 to 65536 |"));
  EXPECT_THAT(page, HasSubstr("| `lease` | time | `3s` | from 100ms to 10m |"));
  EXPECT_THAT(page, HasSubstr("| `name` | name | required |"));
  EXPECT_THAT(page, HasSubstr("| `name` | name | `constant` |"));
}

}  // namespace
}  // namespace tessera
