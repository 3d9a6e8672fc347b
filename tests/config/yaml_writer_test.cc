#include "config/yaml_writer.h"

#include "config/yaml_parser.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

YamlNode MapOf(const std::string& key, YamlNode value) {
  YamlNode map = YamlNode::Map();
  map.entries.push_back({key, "", std::move(value)});
  return map;
}

TEST(YamlWriter, WritesTwoLevelsInLinesAndTheRestInBraces) {
  const YamlNode file = *ParseYaml("{a: {b: 1, c: {d: [1, 2], e: {}}}}", "f");
  EXPECT_EQ(WriteYaml(file), "a:\n  b: 1\n  c: {d: [1, 2], e: {}}\n");
}

TEST(YamlWriter, WritesALineForEachMapOfAList) {
  const YamlNode file = *ParseYaml("{a: {b: [{c: 1}, {d: 2}]}}", "f");
  EXPECT_EQ(WriteYaml(file), "a:\n  b:\n    - {c: 1}\n    - {d: 2}\n");
}

TEST(YamlWriter, LeavesOutWhatIsNull) { EXPECT_EQ(WriteYaml(*ParseYaml("{a: 1, b: ~}", "f")), "a: 1\n"); }

TEST(YamlWriter, EveryTextReadsBackTheSame) {
  for (const std::string text : {"plain",
                                 "two words",
                                 "127.0.0.1:7070",
                                 "a: b",
                                 "a #b",
                                 "#a",
                                 "a,b",
                                 "a, b",
                                 "[a]",
                                 "{a}",
                                 "a]",
                                 "a}",
                                 "- a",
                                 "-",
                                 "--",
                                 "---",
                                 "...",
                                 "-a",
                                 "?",
                                 "? a",
                                 ":",
                                 ":a",
                                 "a:",
                                 "a::b",
                                 "!a",
                                 "&a",
                                 "*a",
                                 "%a",
                                 "@a",
                                 "`a`",
                                 "|",
                                 ">",
                                 "'",
                                 "''",
                                 "it's",
                                 "\"",
                                 "\"a\"",
                                 "\\",
                                 "a\\nb",
                                 "",
                                 " ",
                                 " a",
                                 "a ",
                                 "~",
                                 "null",
                                 "Null",
                                 "NULL",
                                 "true",
                                 "5",
                                 "5e-4",
                                 "0x10",
                                 "1e400",
                                 "<<",
                                 "=",
                                 "../a b/c",
                                 "C:\\x",
                                 "straße",
                                 "日本",
                                 "\xF0\x9F\x99\x82",
                                 "\xC2\x85",
                                 "\xE2\x80\xA8",
                                 "\xEF\xBB\xBF"
                                 "a"}) {
    const std::string block = WriteYaml(MapOf("k", YamlNode::Scalar(text)));
    const std::string flow = WriteYaml(MapOf("k", YamlNode::List({text, "end"})));
    const std::string key = WriteYaml(MapOf("m", MapOf("n", MapOf(text, YamlNode::Scalar("v")))));
    const auto read_block = ParseYaml(block, "f");
    const auto read_flow = ParseYaml(flow, "f");
    const auto read_key = ParseYaml(key, "f");
    ASSERT_TRUE(read_block.ok()) << block << read_block.status();
    ASSERT_TRUE(read_flow.ok()) << flow << read_flow.status();
    ASSERT_TRUE(read_key.ok()) << key << read_key.status();
    EXPECT_TRUE(read_block->Find("k")->is_scalar()) << block;
    EXPECT_EQ(read_block->Find("k")->text, text) << block;
    ASSERT_EQ(read_flow->Find("k")->items.size(), 2u) << flow;
    EXPECT_EQ(read_flow->Find("k")->items[0].text, text) << flow;
    EXPECT_NE(read_key->Find("m")->Find("n")->Find(text), nullptr) << key;
  }
}

}  // namespace
}  // namespace tessera
