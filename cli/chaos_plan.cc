#include "cli/chaos_plan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "cli/text.h"
#include "common/options.h"
#include "common/status.h"
#include "common/units.h"

namespace tessera::cli {
namespace {

constexpr double kMostPercent = 50;
constexpr double kMostSlowdown = 1000;
constexpr absl::Duration kLongestPause = absl::Hours(1);

struct Word {
  std::string text;  // "" at the end of the text, ";" between statements
  int line = 1, column = 1;
};

bool EndsWord(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)) || c == ';' || c == '#'; }

// The words of `text`, the last of them empty, at the text's end.
std::vector<Word> Words(absl::string_view text) {
  std::vector<Word> words;
  int line = 1, column = 1;
  for (size_t i = 0; i < text.size();) {
    size_t length = 1;
    if (text[i] == '#') {
      length = std::min(text.find('\n', i), text.size()) - i;
    } else if (text[i] == ';') {
      words.push_back({";", line, column});
    } else if (!EndsWord(text[i])) {
      while (i + length < text.size() && !EndsWord(text[i + length])) ++length;
      words.push_back({std::string(text.substr(i, length)), line, column});
    }
    const bool line_ends = text[i] == '\n';
    column = line_ends ? 1 : column + static_cast<int>(length);
    line += line_ends ? 1 : 0;
    i += length;
  }
  words.push_back({"", line, column});
  return words;
}

// Reads statement after statement. Each member reads one part and goes on behind it.
class Parser {
 public:
  Parser(absl::string_view text, absl::string_view source, const ChaosCluster& cluster)
      : words_(Words(text)), source_(source), cluster_(cluster) {}

  absl::StatusOr<ChaosPlan> Parse() {
    bool any = false;
    while (!Next().text.empty()) {
      if (Next().text == ";") {
        Take();
        continue;
      }
      any = true;
      TESSERA_RETURN_IF_ERROR(ParseStatement());
      if (!AtStatementsEnd()) return Error(Next(), absl::StrCat("expected `;`, not `", Next().text, "`"));
    }
    if (!any) return Error(Next(), "the plan is empty");
    return std::move(plan_);
  }

 private:
  const Word& Next() const { return words_[next_]; }
  const Word& Take() { return words_[next_ + 1 < words_.size() ? next_++ : next_]; }
  bool AtStatementsEnd() const { return Next().text.empty() || Next().text == ";"; }

  absl::Status Error(const Word& word, absl::string_view message) const {
    return absl::InvalidArgumentError(absl::StrCat(source_, ":", word.line, ":", word.column, ": ", message));
  }
  // `what`: what should be there, with an example.
  absl::Status Expected(const Word& word, absl::string_view what) const {
    const bool end = word.text.empty() || word.text == ";";
    return Error(word, absl::StrCat("expected ", what, end ? "" : absl::StrCat(", not `", word.text, "`")));
  }
  absl::Status Unknown(const Word& word, absl::string_view what,
                       const std::vector<std::string>& known) const {
    const std::string nearest = NearestName(word.text, known);
    return Error(word, absl::StrCat("unknown ", what, " `", word.text, "`; ",
                                    nearest.empty() ? absl::StrCat("there are ", absl::StrJoin(known, ", "))
                                                    : absl::StrCat("did you mean `", nearest, "`?")));
  }

  absl::Status ParseStatement() {
    const Word& verb = Take();
    if (verb.text == "kill") return ParseFault(ChaosFault::Kind::kKill);
    if (verb.text == "stop") return ParseFault(ChaosFault::Kind::kStop);
    if (verb.text == "restart") return ParseFault(ChaosFault::Kind::kRestart);
    if (verb.text == "drop") return ParsePercent(verb, &plan_.drop_percent);
    if (verb.text == "cut") return ParsePercent(verb, &plan_.cut_percent);
    if (verb.text == "slow") return ParseSlowdown();
    return Unknown(verb, "fault", {"kill", "stop", "restart", "drop", "cut", "slow"});
  }

  absl::Status ParseFault(ChaosFault::Kind kind) {
    ChaosFault fault = {.kind = kind};
    TESSERA_ASSIGN_OR_RETURN(fault.place, ParsePlace());
    if (Next().text != "@step") return Expected(Next(), "`@step`, as in `@step 40`");
    Take();
    if (!absl::SimpleAtoi(Next().text, &fault.step) || fault.step < 0) {
      return Expected(Next(), "a step, as in `@step 40`");
    }
    Take();
    if (kind == ChaosFault::Kind::kStop) {
      if (Next().text != "for") return Expected(Next(), "`for` and how long, as in `for 5s`");
      Take();
      const absl::StatusOr<absl::Duration> pause = ParseDuration(Next().text);
      if (!pause.ok() || *pause <= absl::ZeroDuration() || *pause > kLongestPause) {
        return Expected(Next(), "a time of at most an hour, as in `for 5s`");
      }
      fault.pause = *pause;
      Take();
    }
    plan_.faults.push_back(fault);
    return absl::OkStatus();
  }

  absl::Status ParsePercent(const Word& verb, double* percent) {
    absl::string_view text = Next().text;
    double value = 0;
    const bool number = absl::ConsumeSuffix(&text, "%") && absl::SimpleAtod(text, &value);
    if (!number || !(value > 0) || value > kMostPercent) {
      return Expected(Next(), absl::StrCat("a share above 0 % and up to ", kMostPercent, " %, as in `",
                                           verb.text, " 2%`"));
    }
    if (*percent > 0) return Error(verb, absl::StrCat("`", verb.text, "` is given twice"));
    *percent = value;
    Take();
    return absl::OkStatus();
  }

  absl::Status ParseSlowdown() {
    const Word& node = Next();
    TESSERA_ASSIGN_OR_RETURN(const Place place, ParsePlace());
    if (place.kind != PlaceKind::kWorker) return Expected(node, "a worker, as in `slow worker:1 4x`");
    absl::string_view text = Next().text;
    double factor = 0;
    const bool number = absl::ConsumeSuffix(&text, "x") && absl::SimpleAtod(text, &factor);
    if (!number || !(factor >= 1) || factor > kMostSlowdown) {
      return Expected(Next(), absl::StrCat("a factor from 1x to ", kMostSlowdown, "x, as in `4x`"));
    }
    for (const ChaosSlowdown& other : plan_.slowdowns) {
      if (other.worker == place.index) {
        return Error(node, absl::StrCat("`", node.text, "` is slowed down twice"));
      }
    }
    plan_.slowdowns.push_back({.worker = place.index, .factor = factor});
    Take();
    return absl::OkStatus();
  }

  absl::StatusOr<Place> ParsePlace() {
    if (AtStatementsEnd()) return Expected(Next(), "a node: coordinator, server:0, worker:0, ...");
    const Word& word = Take();
    for (const Place& place : Places()) {
      if (FormatPlace(place) == word.text) return place;
    }
    int number = 0;
    for (const char* kind : {"server", "worker"}) {
      absl::string_view rest = word.text;
      if (absl::ConsumePrefix(&rest, absl::StrCat(kind, ":")) && absl::SimpleAtoi(rest, &number)) {
        const int count = word.text[0] == 's' ? cluster_.servers : cluster_.workers;
        return Error(word,
                     absl::StrCat("no `", word.text, "`: the last of ", count, " is ", kind, ":", count - 1));
      }
    }
    std::vector<std::string> known;
    for (const Place& place : Places()) known.push_back(FormatPlace(place));
    return Unknown(word, "node", known);
  }

  std::vector<Place> Places() const {
    std::vector<Place> places = {Place{}};
    for (int i = 0; i < cluster_.servers; ++i) places.push_back({PlaceKind::kServer, i});
    for (int i = 0; i < cluster_.workers; ++i) places.push_back({PlaceKind::kWorker, i});
    return places;
  }

  const std::vector<Word> words_;
  const std::string source_;
  const ChaosCluster cluster_;
  size_t next_ = 0;
  ChaosPlan plan_;
};

std::string Verb(ChaosFault::Kind kind) {
  switch (kind) {
    case ChaosFault::Kind::kKill:
      return "kill";
    case ChaosFault::Kind::kStop:
      return "stop";
    default:
      return "restart";
  }
}

}  // namespace

absl::StatusOr<ChaosPlan> ParseChaosPlan(absl::string_view text, absl::string_view source,
                                         const ChaosCluster& cluster) {
  return Parser(text, source, cluster).Parse();
}

std::string FormatChaosFault(const ChaosFault& fault) {
  std::string text = absl::StrCat(Verb(fault.kind), " ", FormatPlace(fault.place), " @step ", fault.step);
  if (fault.kind == ChaosFault::Kind::kStop) {
    absl::StrAppend(&text, " for ", absl::FormatDuration(fault.pause));
  }
  return text;
}

std::string FormatChaosSlowdown(const ChaosSlowdown& slowdown) {
  return absl::StrCat("slow worker:", slowdown.worker, " ", FormatExact(slowdown.factor), "x");
}

std::string FormatChaosPlan(const ChaosPlan& plan) {
  std::vector<std::string> statements;
  for (const ChaosFault& fault : plan.faults) statements.push_back(FormatChaosFault(fault));
  if (plan.drop_percent > 0) statements.push_back(absl::StrCat("drop ", FormatExact(plan.drop_percent), "%"));
  if (plan.cut_percent > 0) statements.push_back(absl::StrCat("cut ", FormatExact(plan.cut_percent), "%"));
  for (const ChaosSlowdown& slowdown : plan.slowdowns) statements.push_back(FormatChaosSlowdown(slowdown));
  return absl::StrJoin(statements, "; ");
}

}  // namespace tessera::cli
