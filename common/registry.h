// Named factories, one per file: a layer, an optimizer, a schedule or a data format ends in its registration,
// and no list is edited. The tables are filled before main() and immutable afterwards.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/options.h"

namespace tessera {

// Factories of Product by name. `Arguments` follow the name at Create.
template <typename Product, typename... Arguments>
class Registry {
 public:
  using Factory = std::function<absl::StatusOr<std::unique_ptr<Product>>(Arguments...)>;

  // One of these at the end of a file: `const Registry<Layer, ...>::Entry kEntry("conv2d", &Conv2d::Create);`
  struct Entry {
    Entry(std::string name, Factory factory) { Table().emplace(std::move(name), std::move(factory)); }
  };

  // Errors: kInvalidArgument for an unknown name, with the nearest and all known ones (`what`: "optimizer");
  // the factory's own.
  static absl::StatusOr<std::unique_ptr<Product>> Create(absl::string_view what, absl::string_view name,
                                                         Arguments... arguments) {
    auto found = Table().find(std::string(name));
    if (found == Table().end()) {
      const std::string nearest = NearestName(name, Names());
      return absl::InvalidArgumentError(
          absl::StrCat("unknown ", what, " `", name, "`",
                       nearest.empty() ? "" : absl::StrCat("; did you mean `", nearest, "`?"),
                       " (known: ", absl::StrJoin(Names(), ", "), ")"));
    }
    return found->second(std::forward<Arguments>(arguments)...);
  }

  // Every registered name, sorted: tests sweep it.
  static std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& [name, factory] : Table()) names.push_back(name);
    return names;
  }

 private:
  static std::map<std::string, Factory>& Table() {
    static auto* table = new std::map<std::string, Factory>();
    return *table;
  }
};

}  // namespace tessera
