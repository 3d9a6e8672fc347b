#include "common/shared_memory/segment_view.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <limits>
#include <string>

#include "common/shared_memory/seals.h"
#include "common/shared_memory/segment.h"
#include "tests/common/shared_memory/child.h"
#include "tests/common/temporary_folder.h"

namespace tessera {
namespace {

constexpr size_t kFloats = 1024;

class View : public ::testing::Test {
 protected:
  // What opening `offer` is refused with; "" when it is not.
  static std::string Refusal(const SharedMemoryOffer& offer) {
    const absl::Status status = SegmentView::Open(offer).status();
    if (status.ok()) return "";
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    return std::string(status.message());
  }
  // What opening `file`, named in place of the segment's, is refused with.
  std::string RefusalOfFile(int file) {
    SharedMemoryOffer offer = segment_->offer();
    offer.fd = file;
    return Refusal(offer);
  }
  // A file of ours that has the token, made otherwise than a segment.
  FileDescriptor Forged(const char* name, int seals) {
    FileDescriptor file(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    EXPECT_EQ(ftruncate(file.get(), static_cast<off_t>(segment_->offer().bytes)), 0);
    EXPECT_EQ(pwrite(file.get(), segment_->offer().token.data(), SharedMemoryOffer::kTokenBytes, 0),
              static_cast<ssize_t>(SharedMemoryOffer::kTokenBytes));
    EXPECT_EQ(fcntl(file.get(), F_ADD_SEALS, seals), 0);
    return file;
  }

  const std::shared_ptr<SharedSegment> segment_ = *SharedSegment::Create(kFloats * sizeof(float));
};

TEST_F(View, ShowsWhatTheOwnerWrites) {
  const auto view = SegmentView::Open(segment_->offer());
  ASSERT_TRUE(view.ok()) << view.status();
  float* const floats = segment_->Allocate(kFloats);
  floats[7] = 7.0f;
  const uint64_t offset = *segment_->OffsetOf({reinterpret_cast<uint8_t*>(floats + 7), sizeof(float)});
  const auto bytes = (*view)->Find({1, offset, sizeof(float)});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  float seen = 0;
  std::memcpy(&seen, bytes->data(), sizeof(float));
  EXPECT_EQ(seen, 7.0f);
}

TEST_F(View, AnotherTokenIsRefused) {
  SharedMemoryOffer offer = segment_->offer();
  offer.token[0] ^= 1;
  EXPECT_NE(Refusal(offer).find("another token"), std::string::npos);
  for (const std::string& token :
       {std::string(), segment_->offer().token + "x", segment_->offer().token.substr(1)}) {
    offer.token = token;
    EXPECT_NE(Refusal(offer).find("another token"), std::string::npos);
  }
}

TEST_F(View, AnotherProcessIsRefused) {
  SharedMemoryOffer offer = segment_->offer();
  for (const int64_t pid : {int64_t{0}, int64_t{-1}, int64_t{1} << 40, std::numeric_limits<int64_t>::min()}) {
    offer.pid = pid;
    EXPECT_NE(Refusal(offer).find("no process id"), std::string::npos) << pid;
  }
  Child dead;
  offer.pid = dead.pid();
  dead.Kill();
  EXPECT_NE(Refusal(offer), "");
}

TEST_F(View, AnotherSizeIsRefused) {
  SharedMemoryOffer offer = segment_->offer();
  for (const uint64_t bytes : {offer.bytes + 4096, offer.bytes - 1, uint64_t{0}, ~uint64_t{0}}) {
    offer.bytes = bytes;
    EXPECT_NE(Refusal(offer).find("bytes, not"), std::string::npos) << bytes;
  }
}

TEST_F(View, AFileThatIsNoSegmentIsRefusedAndNotTouched) {
  const TemporaryFolder folder;
  const std::string fifo = (folder.path() + "/fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const FileDescriptor waiting(open(fifo.c_str(), O_RDWR | O_CLOEXEC));
  const FileDescriptor plain(
      open(std::string(folder.path() + "/memfd:tessera-outbox").c_str(), O_CREAT | O_RDWR, 0600));
  const FileDescriptor socket_file(socket(AF_UNIX, SOCK_STREAM, 0));
  for (const FileDescriptor* file : {&waiting, &plain, &socket_file}) {
    EXPECT_NE(RefusalOfFile(file->get()).find("is no segment"), std::string::npos);
  }
  EXPECT_NE(RefusalOfFile(-1), "");
  EXPECT_NE(RefusalOfFile(std::numeric_limits<int>::max()), "");
  EXPECT_NE(RefusalOfFile(Forged("another", kSegmentSeals).get()).find("is no segment"), std::string::npos);
}

TEST_F(View, AFileThatLacksASealIsRefused) {
  for (const int missing : {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL}) {
    const FileDescriptor file = Forged(kSegmentName, kSegmentSeals & ~missing);
    EXPECT_NE(RefusalOfFile(file.get()).find("not sealed"), std::string::npos) << missing;
  }
  EXPECT_EQ(RefusalOfFile(Forged(kSegmentName, kSegmentSeals).get()), "") << "with all of them it is one";
}

TEST_F(View, TensorsOutsideOfTheSegmentsAreRefused) {
  const auto view = *SegmentView::Open(segment_->offer());
  const uint64_t end = segment_->offer().bytes;
  const uint64_t huge = std::numeric_limits<uint64_t>::max();
  EXPECT_TRUE(view->Find({1, kSegmentHeadBytes, end - kSegmentHeadBytes}).ok()) << "all of it";
  for (const SharedTensorReference& bad : {SharedTensorReference{1, end, 4},
                                           {1, end - 4, 8},
                                           {1, 0, 4},
                                           {1, kSegmentHeadBytes - 4, 4},
                                           {1, huge - 3, 4},
                                           {1, huge - 3, 8},
                                           {1, kSegmentHeadBytes, huge - 3},
                                           {1, kSegmentHeadBytes, huge - kSegmentHeadBytes + 1},
                                           {1, kSegmentHeadBytes, 0},
                                           {1, kSegmentHeadBytes + 2, 4},
                                           {1, kSegmentHeadBytes, 6}}) {
    EXPECT_EQ(view->Find(bad).status().code(), absl::StatusCode::kInvalidArgument)
        << bad.offset << " " << bad.bytes;
  }
}

TEST_F(View, OutlivesTheSegment) {
  auto segment = *SharedSegment::Create(kFloats * sizeof(float));
  segment->Allocate(1)[0] = 3.0f;
  const auto view = *SegmentView::Open(segment->offer());
  segment.reset();
  float seen = 0;
  std::memcpy(&seen, view->Find({1, kSegmentHeadBytes, 4})->data(), sizeof(float));
  EXPECT_EQ(seen, 3.0f);
}

}  // namespace
}  // namespace tessera
