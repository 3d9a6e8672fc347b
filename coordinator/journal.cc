#include "coordinator/journal.h"

#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/file.h"
#include "common/sha256.h"
#include "common/status.h"

namespace tessera {
namespace {

constexpr int kSchema = 1;                           // user_version: of the table below
constexpr int kApplicationId = 0x54535341;           // "TSSA": that the file is one of ours
constexpr int64_t kMostSequence = int64_t{1} << 60;  // no coordinator ever saved so often
constexpr int kMostWaitMs = 1000;                    // for who has the file
constexpr char kTable[] = "CREATE TABLE state(sequence INTEGER PRIMARY KEY, digest BLOB, state BLOB)";

// One fsync of the journal's journal ends a commit (TRUNCATE), where an unlinked one might come back after a
// power cut. A file that came from elsewhere may hold a schema that runs code: nothing of it is trusted.
constexpr char kSettings[] =
    "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=FULL; PRAGMA "
    "trusted_schema=OFF;"
    "PRAGMA cell_size_check=ON; PRAGMA mmap_size=0;";

std::string DigestOf(int64_t sequence, absl::string_view state) {
  uint8_t number[sizeof(sequence)];
  for (size_t i = 0; i < sizeof(number); ++i) number[i] = static_cast<uint8_t>(sequence >> (8 * i));
  Sha256 digest;
  digest.Add(number);
  digest.Add(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(state.data()), state.size()));
  return digest.Digest();
}

}  // namespace

void Journal::CloseDatabase::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

// One statement, and the row that it is at.
class Journal::Query {
 public:
  Query(sqlite3* database, const char* sql) {
    sqlite3_prepare_v2(database, sql, /*nByte=*/-1, &statement_, nullptr);
  }
  ~Query() { sqlite3_finalize(statement_); }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  // SQLITE_ROW, SQLITE_DONE or an error, one of preparing it too.
  int Step() { return statement_ == nullptr ? SQLITE_ERROR : sqlite3_step(statement_); }
  int64_t Integer(int column) { return sqlite3_column_int64(statement_, column); }
  // Its bytes, valid until the next step; empty if it is not there or can not be read.
  absl::string_view Bytes(int column) {
    const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
    if (bytes == nullptr) return {};
    return {bytes, static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
  }
  void Bind(int parameter, int64_t value) { sqlite3_bind_int64(statement_, parameter, value); }
  // `bytes` outlive the query.
  void Bind(int parameter, absl::string_view bytes) {
    sqlite3_bind_blob64(statement_, parameter, bytes.empty() ? "" : bytes.data(), bytes.size(),
                        SQLITE_STATIC);
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
};

absl::Status Journal::ErrorOf(sqlite3* database, absl::string_view action) const {
  const char* const reason = sqlite3_errmsg(database);
  switch (sqlite3_errcode(database)) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::AlreadyExistsError(absl::StrCat(path_, ": another coordinator has the journal open"));
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return absl::DataLossError(absl::StrCat(path_, ": the journal is damaged: ", reason));
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(absl::StrCat(path_, ": cannot ", action, " the journal: ", reason));
    default:
      return absl::UnavailableError(absl::StrCat(path_, ": cannot ", action, " the journal: ", reason));
  }
}

absl::Status Journal::Run(sqlite3* database, const char* sql) {
  if (sqlite3_exec(database, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return absl::OkStatus();
  return ErrorOf(database, "use");
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const std::string& path) {
  std::unique_ptr<Journal> journal(new Journal(path));
  std::error_code error;
  const bool exists = std::filesystem::exists(path, error);
  if (error)
    return absl::UnavailableError(absl::StrCat(path, ": cannot open the journal: ", error.message()));
  if (!exists) TESSERA_RETURN_IF_ERROR(journal->WriteAnew(std::nullopt));
  TESSERA_RETURN_IF_ERROR(journal->Attach());
  return journal;
}

Journal::~Journal() = default;

absl::Status Journal::Attach() {
  std::error_code error;
  // SQLite would take an empty file for a new database; ours is never empty.
  if (std::filesystem::is_regular_file(path_, error) && std::filesystem::file_size(path_, error) == 0) {
    return absl::DataLossError(absl::StrCat(path_, ": the journal is damaged: the file is empty"));
  }
  sqlite3* opened = nullptr;
  const int result =
      sqlite3_open_v2(path_.c_str(), &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  database_.reset(opened);
  if (result != SQLITE_OK) return ErrorOf(opened, "open");
  sqlite3_busy_timeout(opened, kMostWaitMs);
  for (const int refused : {SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_VIEW}) {
    sqlite3_db_config(opened, refused, 0, nullptr);
  }
  TESSERA_RETURN_IF_ERROR(Run(opened, kSettings));
  TESSERA_RETURN_IF_ERROR(Run(opened, "BEGIN EXCLUSIVE; COMMIT"));  // the lock stays
  return CheckFormat();
}

absl::Status Journal::CheckFormat() {
  sqlite3* const database = database_.get();
  Query identity(database,
                 "SELECT (SELECT * FROM pragma_application_id), (SELECT * FROM pragma_user_version)");
  if (identity.Step() != SQLITE_ROW) return ErrorOf(database, "read");
  const int64_t schema = identity.Integer(1);
  if (identity.Integer(0) != kApplicationId) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": a database of another program, no journal"));
  }
  if (schema != kSchema) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_, ": a journal of schema ", schema, ", written by ",
                     schema > kSchema ? "a newer" : "another", " Tessera: this one reads schema ", kSchema));
  }
  Query tables(database, "SELECT sql FROM sqlite_schema");
  if (tables.Step() != SQLITE_ROW) return ErrorOf(database, "read");
  if (tables.Bytes(0) != kTable || tables.Step() != SQLITE_DONE) {
    return absl::DataLossError(
        absl::StrCat(path_, ": the journal is damaged: its tables are not what they were"));
  }
  Query check(database, "PRAGMA quick_check(1)");
  damaged_ = check.Step() != SQLITE_ROW || check.Bytes(0) != "ok";
  const std::vector<int64_t> sequences = Sequences();
  sequence_ = sequences.empty() ? 0 : sequences.front();
  if (sequence_ < 0 || sequence_ > kMostSequence) damaged_ = true;
  if (damaged_) sequence_ = 0;
  return absl::OkStatus();
}

absl::Status Journal::WriteAnew(std::optional<absl::string_view> state) {
  sqlite3* opened = nullptr;
  const int result =
      sqlite3_open_v2(":memory:", &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  const Database fresh(opened);
  if (result != SQLITE_OK) return ErrorOf(opened, "make");
  TESSERA_RETURN_IF_ERROR(Run(opened, kTable));
  const std::string identity =
      absl::StrCat("PRAGMA application_id=", kApplicationId, "; PRAGMA user_version=", kSchema);
  TESSERA_RETURN_IF_ERROR(Run(opened, identity.c_str()));
  if (state.has_value()) TESSERA_RETURN_IF_ERROR(Insert(opened, *state));
  sqlite3_int64 size = 0;
  const std::unique_ptr<uint8_t, decltype(&sqlite3_free)> image(
      sqlite3_serialize(opened, "main", &size, /*flags=*/0), &sqlite3_free);
  if (image == nullptr) return ErrorOf(nullptr, "make");
  unlink(absl::StrCat(path_, "-journal")
             .c_str());  // of what lay here before: it must not be rolled back into this
  const absl::Span<const uint8_t> bytes(image.get(), static_cast<size_t>(size));
  return WriteFileAtomically(path_, {bytes});
}

absl::Status Journal::Save(absl::string_view state) {
  if (state.size() > kMaxStateBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": a state of ", state.size(),
                                                   " bytes; the journal takes ", kMaxStateBytes, " at most"));
  }
  if (!damaged_) {
    const absl::Status saved = SaveInPlace(state);
    if (!absl::IsDataLoss(saved)) return saved;
    damaged_ = true;
  }
  TESSERA_RETURN_IF_ERROR(WriteAnew(state));
  news_ = absl::StrCat(path_, ": the journal was damaged and has been written anew");
  return Attach();
}

absl::Status Journal::SaveInPlace(absl::string_view state) {
  sqlite3* const database = database_.get();
  absl::Status status = Run(database, "BEGIN");
  const std::string forget = absl::StrCat("DELETE FROM state WHERE sequence <= ", sequence_ + 1 - kKept);
  if (status.ok()) status = Run(database, forget.c_str());
  if (status.ok()) status = Insert(database, state);
  if (status.ok()) status = Run(database, "COMMIT");
  if (status.ok()) {
    ++sequence_;
  } else {
    Run(database, "ROLLBACK").IgnoreError();  // it may have been rolled back already
  }
  return status;
}

absl::Status Journal::Insert(sqlite3* database, absl::string_view state) {
  const std::string digest = DigestOf(sequence_ + 1, state);
  Query insert(database, "INSERT INTO state VALUES (?, ?, ?)");
  insert.Bind(1, sequence_ + 1);
  insert.Bind(2, absl::string_view(digest));
  insert.Bind(3, state);
  return insert.Step() == SQLITE_DONE ? absl::OkStatus() : ErrorOf(database, "write");
}

absl::StatusOr<std::optional<std::string>> Journal::Load() {
  const std::vector<int64_t> sequences = Sequences();
  if (sequences.empty() && !damaged_) return std::nullopt;
  for (const int64_t sequence : sequences) {
    TESSERA_ASSIGN_OR_RETURN(std::optional<std::string> state, Read(sequence));
    if (!state.has_value()) continue;
    if (sequence != sequences.front()) {
      news_ = absl::StrCat(path_, ": the journal is damaged: going on with state ", sequence,
                           ", the newest that is whole; the last one was ", sequences.front());
    }
    return state;
  }
  return absl::DataLossError(absl::StrCat(path_, ": the journal is damaged: none of its states is whole"));
}

std::vector<int64_t> Journal::Sequences() {
  const std::string newest = absl::StrCat("SELECT sequence FROM state ORDER BY sequence DESC LIMIT ", kKept);
  Query query(database_.get(), newest.c_str());
  std::vector<int64_t> sequences;
  while (query.Step() == SQLITE_ROW) sequences.push_back(query.Integer(0));
  return sequences;
}

absl::StatusOr<std::optional<std::string>> Journal::Read(int64_t sequence) {
  Query query(database_.get(), "SELECT digest, state FROM state WHERE sequence = ?");
  query.Bind(1, sequence);
  if (query.Step() != SQLITE_ROW) {
    const absl::Status failed = ErrorOf(database_.get(), "read");
    if (absl::IsDataLoss(failed)) return std::nullopt;
    return failed;
  }
  const absl::string_view state = query.Bytes(1);
  if (query.Bytes(0) != DigestOf(sequence, state)) return std::nullopt;
  return std::string(state);
}

std::string Journal::TakeNews() { return std::exchange(news_, {}); }

}  // namespace tessera
