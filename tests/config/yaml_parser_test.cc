#include "config/yaml_parser.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

using ::testing::EndsWith;

std::string ErrorOf(const std::string& text) {
  const absl::StatusOr<YamlNode> node = ParseYaml(text, "f");
  if (node.ok()) return "parsed";
  EXPECT_EQ(node.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(node.status().message());
}

TEST(YamlParser, KnowsWhereEverythingStands) {
  const YamlNode file = *ParseYaml("a: 1\nmap:\n  list: [x, 'y']\n", "f");
  ASSERT_TRUE(file.is_map());
  EXPECT_EQ(file.entries[0].where, "f:1:1");
  EXPECT_EQ(file.entries[0].value.where, "f:1:4");
  const YamlNode& list = *file.Find("map")->Find("list");
  ASSERT_TRUE(list.is_list());
  EXPECT_EQ(list.where, "f:3:9");
  EXPECT_EQ(list.items[1].where, "f:3:13");
  EXPECT_EQ(file.Find("absent"), nullptr);
}

TEST(YamlParser, TellsStringsInQuotesFromWords) {
  const YamlNode list = *ParseYaml("[5, '5', \"5\"]", "f");
  EXPECT_FALSE(list.items[0].quoted);
  EXPECT_TRUE(list.items[1].quoted);
  EXPECT_TRUE(list.items[2].quoted);
  EXPECT_EQ(list.items[2].text, "5");
}

TEST(YamlParser, MissingValueStandsAtItsKey) {
  EXPECT_EQ(ParseYaml("a:\n\n\nb: 1\n", "f")->Find("a")->where, "f:1:1");
  EXPECT_EQ(ParseYamlValue("", "--set x")->where, "--set x");
}

TEST(YamlParser, TextWithoutDocumentIsNull) {
  EXPECT_TRUE(ParseYaml("", "f")->is_null());
  EXPECT_TRUE(ParseYaml("# a comment\n\n", "f")->is_null());
  EXPECT_TRUE(ParseYaml("~", "f")->is_null());
}

TEST(YamlParser, AcceptsOtherLineEndsAndDocumentMarks) {
  EXPECT_EQ(ParseYaml("a: 1\r\nb: 2\r\n", "f")->Find("b")->text, "2");
  EXPECT_EQ(ParseYaml("---\na: 1\n...\n", "f")->Find("a")->text, "1");
  EXPECT_EQ(ParseYaml("\xEF\xBB\xBF"
                      "a: 1\n",
                      "f")
                ->Find("a")
                ->text,
            "1");
}

TEST(YamlParser, RefusesWhatIsNotYaml) {
  EXPECT_EQ(ErrorOf("a: [1, 2\n"), "f:2:1: not YAML: end of sequence flow not found");
  EXPECT_EQ(ErrorOf("a: 1\n  b: 2\n"), "f:2:4: not YAML: illegal map value");
  EXPECT_EQ(ErrorOf("a: \"x"), "f:1:6: not YAML: illegal EOF in scalar");
}

TEST(YamlParser, RefusesDuplicateKeysAtTheSecond) {
  EXPECT_EQ(ErrorOf("a: 1\nb: {c: 1, c: 2}\n"), "f:2:11: duplicate key `c`");
  EXPECT_EQ(ErrorOf("a: 1\n\"a\": 2\n"), "f:2:1: duplicate key `a`");
}

TEST(YamlParser, SameKeyInDifferentMapsIsNoDuplicate) {
  EXPECT_EQ(ErrorOf("a: {c: 1}\nb: {c: 1}\n"), "parsed");
  EXPECT_EQ(ErrorOf("- {c: 1}\n- {c: 1}\n"), "parsed");
}

TEST(YamlParser, RefusesAnchorsAliasesAndTags) {
  EXPECT_EQ(ErrorOf("a: &x 1\n"), "f:1:4: anchors are not supported");
  EXPECT_EQ(ErrorOf("a: &x {b: 1}\nc: *x\n"), "f:1:4: anchors are not supported");
  EXPECT_EQ(ErrorOf("a: !!int 1\n"), "f:1:4: tags are not supported");
  EXPECT_EQ(ErrorOf("a: !mine {b: 1}\n"), "f:1:4: tags are not supported");
}

TEST(YamlParser, RefusesKeysThatAreNoWords) {
  EXPECT_EQ(ErrorOf("? [a]\n: 1\n"), "f:1:3: a key must be a word");
  EXPECT_EQ(ErrorOf("~: 1\n"), "f:1:1: a key is missing");
}

TEST(YamlParser, RefusesASecondDocument) {
  EXPECT_EQ(ErrorOf("a: 1\n---\na: 2\n"), "f:2:1: a second document: a job is one document");
}

TEST(YamlParser, RefusesValuesOfSeveralLines) {
  EXPECT_EQ(ErrorOf("a: |\n  one\n  two\n"), "f:1:4: a line break or control character in a value");
  EXPECT_EQ(ErrorOf("a: \"one\\ntwo\"\n"), "f:1:4: a line break or control character in a value");
  EXPECT_EQ(ErrorOf("\"a\\tb\": 1\n"), "f:1:1: a line break or control character in a value");
}

// The library takes this byte for the end of the text.
TEST(YamlParser, RefusesBytesThatAreNoTextRatherThanStopThere) {
  EXPECT_EQ(ErrorOf("a: 1\nb: 2\x04\nc: 3\n"), "f:2:5: not a text: it holds the byte 0x04");
  EXPECT_EQ(ErrorOf(std::string("a\0", 2)), "f:1:2: not a text: it holds the byte 0x00");
}

TEST(YamlParser, RefusesDeepNesting) {
  EXPECT_EQ(ErrorOf(std::string(16, '[') + std::string(16, ']')), "parsed");
  EXPECT_EQ(ErrorOf(std::string(17, '[') + std::string(17, ']')), "f:1:17: nested more than 16 deep");
  for (const char* opening : {"[", "{", "- ", "? ", "a: [", "{a: "}) {
    std::string text;
    while (text.size() < 100'000) text += opening;
    EXPECT_THAT(ErrorOf(text), EndsWith(": nested more than 16 deep")) << opening;
  }
}

TEST(YamlParser, ValueOfTheCommandLineStandsAtItsKey) {
  const YamlNode map = *ParseYamlValue("{a: [1, 2]}", "--set x");
  EXPECT_EQ(map.Find("a")->items[1].where, "--set x");
  EXPECT_EQ(ParseYamlValue("[1", "--set x").status().message(),
            "--set x: not YAML: end of sequence flow not found");
}

}  // namespace
}  // namespace tessera
