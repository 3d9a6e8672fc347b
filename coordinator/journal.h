// The coordinator's state on disk, so that a coordinator that is started again goes on: one SQLite file, in
// which every save is one transaction. docs/adr/0010-the-journal-is-sqlite.md says why.
//
// What Save has answered OK for survives kill -9 and a power cut. Once the coordinator is dead, a copy of the
// folder that the file is in is as good as the folder; of a folder in use a copy may be of no whole state,
// which Open or Load then says.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct sqlite3;

namespace tessera {

// Every error names the file. Not thread-safe. While it is open nobody else in the process may open the file:
// closing it would give up its lock.
class Journal {
 public:
  static constexpr size_t kMaxStateBytes = 64 << 20;
  static constexpr int kKept = 8;  // newest states in the file; it is at most (kKept + 1) states long

  // Opens the file, or creates it, and holds it until the end: waits a second at most for whoever has it.
  // Errors: kAlreadyExists, another coordinator holds it; kInvalidArgument, the file is not one of ours;
  // kFailedPrecondition, a newer Tessera has written it; kDataLoss, damaged or truncated beyond reading;
  // kResourceExhausted, kUnavailable: as Save.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const std::string& path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Makes `state` the newest one; on disk when this returns. After an error the last one stands. A damaged
  // file is replaced by one that holds `state` alone. Errors: kInvalidArgument, longer than kMaxStateBytes;
  // kResourceExhausted, the disk is full; kUnavailable, the system cannot write.
  absl::Status Save(absl::string_view state);

  // The newest state that is whole; nothing if none was ever saved. One that is damaged is passed over for
  // the one before it, which TakeNews says. Errors: kDataLoss, states were saved and all are damaged;
  // kUnavailable, the system cannot read.
  absl::StatusOr<std::optional<std::string>> Load();

  // One line, once, about damage that was passed over; empty where there was none.
  std::string TakeNews();

 private:
  struct CloseDatabase {
    void operator()(sqlite3* database) const;
  };
  using Database = std::unique_ptr<sqlite3, CloseDatabase>;
  class Query;

  explicit Journal(std::string path) : path_(std::move(path)) {}
  // Opens the file that is there, and takes its lock.
  absl::Status Attach();
  // That it is one of ours.
  absl::Status CheckFormat();
  // Puts a file in its place that holds `state`, or nothing.
  absl::Status WriteAnew(std::optional<absl::string_view> state);
  absl::Status Insert(sqlite3* database, absl::string_view state);
  absl::Status SaveInPlace(absl::string_view state);
  // Of the states in the file, as far as they can be read, the newest first.
  std::vector<int64_t> Sequences();
  // Nothing if that state is damaged. Errors: kUnavailable, the system cannot read.
  absl::StatusOr<std::optional<std::string>> Read(int64_t sequence);
  absl::Status Run(sqlite3* database, const char* sql);
  // What SQLite has answered about `database`, as ours.
  absl::Status ErrorOf(sqlite3* database, absl::string_view action) const;

  const std::string path_;
  Database database_;
  bool damaged_ = false;  // the file's structure, not just a state in it
  int64_t sequence_ = 0;  // of the newest state
  std::string news_;
};

}  // namespace tessera
