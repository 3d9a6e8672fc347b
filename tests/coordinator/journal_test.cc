#include "coordinator/journal.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "tests/common/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

class JournalTest : public ::testing::Test {
 protected:
  std::unique_ptr<Journal> Open() {
    absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(path_);
    EXPECT_TRUE(journal.ok()) << journal.status();
    return journal.ok() ? *std::move(journal) : nullptr;
  }
  // A journal of states 1 to `count`, closed.
  void Fill(int count) {
    const std::unique_ptr<Journal> journal = Open();
    for (int i = 1; i <= count; ++i) ASSERT_TRUE(journal->Save(State(i)).ok());
  }
  // Long enough that each lies on pages of its own.
  static std::string State(int number) { return std::string(20'000, static_cast<char>('a' + number)); }
  static std::optional<std::string> Load(Journal* journal) {
    const absl::StatusOr<std::optional<std::string>> state = journal->Load();
    EXPECT_TRUE(state.ok()) << state.status();
    return state.ok() ? *state : std::nullopt;
  }
  std::string Bytes() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void SetBytes(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  void Damage(const std::string& needle, size_t times) const {
    std::string bytes = Bytes();
    const size_t at = bytes.find(needle);
    ASSERT_NE(at, std::string::npos);
    bytes[at + times] ^= 1;
    SetBytes(bytes);
  }
  void Execute(const std::string& sql) const {
    sqlite3* database = nullptr;
    EXPECT_EQ(sqlite3_open(path_.c_str(), &database), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sql;
    sqlite3_close(database);
  }
  void ExpectRefused(absl::StatusCode code, const std::string& why) const {
    const absl::Status status = Journal::Open(path_).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
  }

  const TemporaryFolder folder_;
  const std::string path_ = folder_.File("journal");
};

TEST_F(JournalTest, ANewOneHasNoState) {
  EXPECT_EQ(Load(Open().get()), std::nullopt);
  EXPECT_EQ(Load(Open().get()), std::nullopt) << "nor when it is opened again";
}

TEST_F(JournalTest, TheLastStateIsThereWhenItIsOpenedAgain) {
  std::string any("of any bytes\0\xff", 14);
  for (const std::string& state : {std::string("first"), any, std::string()}) {
    ASSERT_TRUE(Open()->Save(state).ok());
    const std::unique_ptr<Journal> journal = Open();
    EXPECT_EQ(Load(journal.get()), state);
    EXPECT_EQ(journal->TakeNews(), "");
  }
}

TEST_F(JournalTest, StatesAreReplacedSoThatTheFileStaysSmall) {
  const std::unique_ptr<Journal> journal = Open();
  const std::string state(1 << 20, 's');
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(journal->Save(state).ok());
  EXPECT_LE(std::filesystem::file_size(path_), (Journal::kKept + 2) * state.size());
}

TEST_F(JournalTest, AStateThatIsTooLongIsRefusedAndTheLastOneStands) {
  const std::unique_ptr<Journal> journal = Open();
  ASSERT_TRUE(journal->Save("first").ok());
  const absl::Status status = journal->Save(std::string(Journal::kMaxStateBytes + 1, 'x'));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(Load(journal.get()), "first");
}

TEST_F(JournalTest, ACopyOfTheFolderIsAsGood) {
  Fill(3);
  const TemporaryFolder elsewhere;
  std::filesystem::copy(folder_.path(), elsewhere.path(), std::filesystem::copy_options::recursive);
  const absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(elsewhere.File("journal"));
  ASSERT_TRUE(journal.ok()) << journal.status();
  EXPECT_EQ(Load(journal->get()), State(3));
}

TEST_F(JournalTest, WhatWasSavedSurvivesAKillAtAnyMoment) {
  int64_t last = 0;
  for (int round = 0; round < 5; ++round) {
    int saved[2];
    ASSERT_EQ(pipe2(saved, O_CLOEXEC), 0);
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);  // whatever becomes of the test
      absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(path_);
      for (int64_t i = last + 1; journal.ok() && (*journal)->Save(absl::StrCat(i)).ok(); ++i) {
        if (write(saved[1], &i, sizeof(i)) != sizeof(i)) break;
      }
      _exit(1);
    }
    close(saved[1]);
    for (int i = 0; i < 20 + round; ++i)
      ASSERT_EQ(read(saved[0], &last, sizeof(last)), ssize_t{sizeof(last)});
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    while (read(saved[0], &last, sizeof(last)) > 0) continue;
    close(saved[0]);
    const std::optional<std::string> state = Load(Open().get());
    ASSERT_TRUE(state.has_value());
    EXPECT_THAT(*state, ::testing::AnyOf(absl::StrCat(last), absl::StrCat(last + 1)))
        << "acknowledged or under way";
    last = std::stoll(*state);
  }
}

TEST_F(JournalTest, AnotherProcessThatHoldsItIsAClearError) {
  Fill(1);
  int ready[2];
  ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    const absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(path_);
    const char answer = journal.ok() ? 'y' : 'n';
    if (write(ready[1], &answer, 1) != 1) _exit(1);
    while (true) pause();
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  ExpectRefused(absl::StatusCode::kAlreadyExists, "another coordinator");
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  for (const int end : ready) close(end);
  EXPECT_EQ(Load(Open().get()), State(1)) << "and it goes with it";
}

TEST_F(JournalTest, ADamagedStateIsPassedOverForTheOneBefore) {
  Fill(5);
  Damage(State(5).substr(0, 1000), 500);
  const std::unique_ptr<Journal> journal = Open();
  EXPECT_EQ(Load(journal.get()), State(4));
  EXPECT_THAT(journal->TakeNews(), HasSubstr("going on with state 4"));
  EXPECT_EQ(journal->TakeNews(), "") << "once";
  ASSERT_TRUE(journal->Save("more").ok());
  EXPECT_EQ(Load(journal.get()), "more");
}

TEST_F(JournalTest, NoWholeStateLeftIsAClearErrorAndTheNextSaveMendsIt) {
  Fill(2);
  for (const int state : {1, 2}) Damage(State(state).substr(0, 1000), 500);
  const std::unique_ptr<Journal> journal = Open();
  const absl::Status status = journal->Load().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
  ASSERT_TRUE(journal->Save("more").ok());
  EXPECT_EQ(Load(journal.get()), "more");
}

TEST_F(JournalTest, AnyDamageOfAByteGivesAStateThatWasSavedOrOneClearError) {
  Fill(3);
  const std::string whole = Bytes();
  int read = 0;
  for (size_t at = 0; at < whole.size(); at += at < 4096 ? 37 : 4001) {
    std::string bytes = whole;
    bytes[at] ^= 0x55;
    SetBytes(bytes);
    const absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(path_);
    if (!journal.ok()) {
      EXPECT_THAT(std::string(journal.status().message()), HasSubstr(path_));
      continue;
    }
    const absl::StatusOr<std::optional<std::string>> state = (*journal)->Load();
    if (state.ok()) {
      ++read;
      EXPECT_THAT(*state, ::testing::AnyOf(State(1), State(2), State(3))) << "byte " << at;
    }
    ASSERT_TRUE((*journal)->Save("next").ok()) << "byte " << at;
    EXPECT_EQ(Load(journal->get()), "next") << "byte " << at;
  }
  EXPECT_GT(read, 0);
}

TEST_F(JournalTest, ATruncatedFileGivesAStateThatWasSavedOrOneClearError) {
  Fill(3);
  const std::string whole = Bytes();
  for (size_t size = 0; size < whole.size(); size += 2048) {
    SetBytes(whole.substr(0, size));
    const absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(path_);
    if (!journal.ok()) {
      EXPECT_EQ(journal.status().code(), absl::StatusCode::kDataLoss) << journal.status();
      EXPECT_THAT(std::string(journal.status().message()), HasSubstr(path_));
      continue;
    }
    const absl::StatusOr<std::optional<std::string>> state = (*journal)->Load();
    if (state.ok()) {
      EXPECT_THAT(*state, ::testing::AnyOf(State(1), State(2), State(3))) << size << " bytes";
    }
    ASSERT_TRUE((*journal)->Save("next").ok()) << size << " bytes";
    EXPECT_EQ(Load(journal->get()), "next") << size << " bytes";
  }
}

TEST_F(JournalTest, WhatIsNoJournalIsRefused) {
  SetBytes(std::string(9000, 'x'));
  ExpectRefused(absl::StatusCode::kDataLoss, "damaged");
  SetBytes("");
  ExpectRefused(absl::StatusCode::kDataLoss, "empty");
  std::filesystem::remove(path_);
  Execute("CREATE TABLE recipes(name)");
  ExpectRefused(absl::StatusCode::kInvalidArgument, "another program");
  std::filesystem::remove(path_);
  std::filesystem::create_directory(path_);
  ExpectRefused(absl::StatusCode::kUnavailable, "cannot open");
}

TEST_F(JournalTest, ANewerSchemaIsRefusedAndLeftAsItIs) {
  Fill(1);
  Execute("PRAGMA user_version=2");
  const std::string before = Bytes();
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "schema 2, written by a newer Tessera");
  EXPECT_EQ(Bytes(), before);
}

TEST_F(JournalTest, ASchemaThatRunsCodeIsRefused) {
  Fill(1);
  Execute("CREATE TRIGGER t AFTER INSERT ON state BEGIN DELETE FROM state; END");
  ExpectRefused(absl::StatusCode::kDataLoss, "tables");
}

TEST_F(JournalTest, AFolderThatIsNotThereIsAClearError) {
  const absl::Status status = Journal::Open(folder_.File("no/journal")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("no/journal"));
}

// Files may not grow beyond `bytes`, as on a disk that is full, while it lives.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  const sighandler_t handler_;
};

TEST_F(JournalTest, WhenTheDiskIsFullTheLastStateStandsAndLaterSavesWork) {
  const std::unique_ptr<Journal> journal = Open();
  ASSERT_TRUE(journal->Save("first").ok());
  const std::string big(200'000, 'b');
  {
    const FullDisk full(std::filesystem::file_size(path_) + 50'000);
    const absl::Status status = journal->Save(big);
    EXPECT_TRUE(absl::IsResourceExhausted(status) || absl::IsUnavailable(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
    EXPECT_EQ(Load(journal.get()), "first");
  }
  ASSERT_TRUE(journal->Save(big).ok());
  EXPECT_EQ(Load(journal.get()), big);
}

}  // namespace
}  // namespace tessera
