#include "config/yaml_parser.h"

#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <exception>
#include <functional>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tessera {
namespace {

// Far deeper than any job, and shallow enough for every recursion over the tree.
constexpr size_t kMaxDepth = 16;

// "source:line:column" of a line and a column counted from 0.
using Locate = std::function<std::string(int line, int column)>;

bool HasControlCharacter(const std::string& text) {
  for (const char c : text) {
    if (absl::ascii_iscntrl(c)) return true;
  }
  return false;
}

std::string TooDeep() { return absl::StrCat("nested more than ", kMaxDepth, " deep"); }

// Builds the tree from the library's events. The first error is kept, and all later events are ignored.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const Locate& locate) : locate_(locate) {}

  const absl::Status& status() const { return status_; }
  YamlNode TakeRoot() { return std::move(root_); }

  // The library cannot go on. What was found before may be wrong: of `[a` it reports a list as a key first.
  void Stop(const YAML::Mark& mark, absl::string_view message) { status_ = ErrorAt(At(mark), message); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) Fail(mark, "a second document: a job is one document");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (!Accept(mark, "", anchor)) return;
    if (ExpectsKey()) return Fail(mark, "a key is missing");
    YamlNode node;
    node.where = At(mark);
    Add(std::move(node));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Fail(mark, "aliases are not supported: write the value out");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (!Accept(mark, tag, anchor)) return;
    if (HasControlCharacter(value)) return Fail(mark, "a line break or control character in a value");
    if (ExpectsKey()) return SetKey(mark, value);
    YamlNode node = YamlNode::Scalar(value, At(mark));
    node.quoted = tag == "!";
    Add(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kList);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

 private:
  // A list or a map that is not closed yet.
  struct Frame {
    YamlNode node;
    bool has_key = false;  // of a map: entries.back() waits for its value
    std::set<std::string> keys;
  };

  void Fail(const YAML::Mark& mark, absl::string_view message) {
    if (status_.ok()) status_ = ErrorAt(At(mark), message);
  }

  std::string At(const YAML::Mark& mark) const {
    return mark.is_null() ? locate_(0, 0) : locate_(mark.line, mark.column);
  }

  bool ExpectsKey() const { return !open_.empty() && open_.back().node.is_map() && !open_.back().has_key; }

  // The library tags untagged nodes "?", and "!" where they are in quotes.
  bool Accept(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) Fail(mark, "anchors are not supported");
    if (!tag.empty() && tag != "?" && tag != "!") Fail(mark, "tags are not supported");
    return status_.ok();
  }

  void SetKey(const YAML::Mark& mark, const std::string& key) {
    Frame& map = open_.back();
    if (!map.keys.insert(key).second) return Fail(mark, absl::StrCat("duplicate key `", Clip(key), "`"));
    map.node.entries.push_back({key, At(mark), YamlNode()});
    map.has_key = true;
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    if (!Accept(mark, tag, anchor)) return;
    if (ExpectsKey()) return Fail(mark, "a key must be a word");
    if (open_.size() == kMaxDepth) return Fail(mark, TooDeep());
    Frame frame;
    frame.node.kind = kind;
    frame.node.where = At(mark);
    open_.push_back(std::move(frame));
  }

  void Close() {
    if (!status_.ok()) return;
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    Add(std::move(node));
  }

  void Add(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& parent = open_.back();
    if (parent.node.is_list()) {
      parent.node.items.push_back(std::move(node));
    } else {
      YamlEntry& entry = parent.node.entries.back();
      // The library puts a value that is not there at whatever comes next.
      if (node.is_null()) node.where = entry.where;
      entry.value = std::move(node);
      parent.has_key = false;
    }
  }

  const Locate& locate_;
  absl::Status status_;
  int documents_ = 0;
  YamlNode root_;
  std::vector<Frame> open_;
};

// The library takes byte 4 for the end of the text and would silently leave out the rest.
absl::Status CheckIsText(const std::string& text, const Locate& locate) {
  int line = 0;
  int column = 0;
  for (const char c : text) {
    const bool is_break = c == '\n';
    if (absl::ascii_iscntrl(c) && !is_break && c != '\t' && c != '\r') {
      return ErrorAt(locate(line, column),
                     absl::StrFormat("not a text: it holds the byte 0x%02x", static_cast<unsigned char>(c)));
    }
    column = is_break ? 0 : column + 1;
    line += is_break ? 1 : 0;
  }
  return absl::OkStatus();
}

absl::StatusOr<YamlNode> Parse(const std::string& text, const Locate& locate) {
  if (absl::Status status = CheckIsText(text, locate); !status.ok()) return status;
  TreeBuilder builder(locate);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    while (builder.status().ok() && parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::DeepRecursion& error) {
    builder.Stop(error.mark, TooDeep());
  } catch (const YAML::Exception& error) {
    builder.Stop(error.mark, absl::StrCat("not YAML: ", error.msg));
  } catch (const std::exception& error) {
    builder.Stop(YAML::Mark::null_mark(), absl::StrCat("not YAML: ", error.what()));
  }
  if (!builder.status().ok()) return builder.status();
  YamlNode root = builder.TakeRoot();
  if (root.is_null()) root.where = locate(0, 0);
  return root;
}

}  // namespace

absl::StatusOr<YamlNode> ParseYaml(const std::string& text, const std::string& source) {
  return Parse(text,
               [&](int line, int column) { return absl::StrCat(source, ":", line + 1, ":", column + 1); });
}

absl::StatusOr<YamlNode> ParseYamlValue(const std::string& text, const std::string& where) {
  return Parse(text, [&](int, int) { return where; });
}

}  // namespace tessera
