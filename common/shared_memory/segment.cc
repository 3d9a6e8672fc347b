#include "common/shared_memory/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/shared_memory/available_memory.h"
#include "common/shared_memory/seals.h"
#include "common/status.h"

namespace tessera {
namespace {

constexpr size_t kAlignment = 64;
// Of the memory that is left one process takes at most so much at once: nobody can be refused pages that are
// laid out ahead, only be ended for want of them.
constexpr uint64_t kPartOfMemory = 2;

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

absl::Status SystemError(const char* what) {
  return absl::UnavailableError(absl::StrCat("no shared memory: ", what, ": ", std::strerror(errno)));
}

absl::StatusOr<std::string> RandomToken() {
  std::string token(SharedMemoryOffer::kTokenBytes, '\0');
  if (getrandom(token.data(), token.size(), 0) != static_cast<ssize_t>(token.size())) {
    return SystemError("getrandom");
  }
  return token;
}

}  // namespace

absl::StatusOr<std::shared_ptr<SharedSegment>> SharedSegment::Create(size_t tensor_bytes) {
  const uint64_t most = AvailableMemory() / kPartOfMemory;
  if (tensor_bytes > most) {
    return absl::UnavailableError(absl::StrCat("no shared memory: a segment of ", tensor_bytes,
                                               " bytes is wanted, and at most ", most, " are to be taken"));
  }
  TESSERA_ASSIGN_OR_RETURN(std::string token, RandomToken());
  const size_t bytes = kSegmentHeadBytes + RoundUp(tensor_bytes, kSegmentHeadBytes);
  FileDescriptor file(memfd_create(kSegmentName, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.valid()) return SystemError("memfd_create");
  // All pages now: one that is missing later would be a signal in the middle of a sum.
  if (fallocate(file.get(), 0, 0, static_cast<off_t>(bytes)) != 0) return SystemError("fallocate");
  void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file.get(), 0);
  if (base == MAP_FAILED) return SystemError("mmap");
  SharedMemoryOffer offer{getpid(), file.get(), bytes, std::move(token)};
  std::shared_ptr<SharedSegment> segment(
      new SharedSegment(std::move(file), static_cast<std::byte*>(base), std::move(offer)));
  std::memcpy(static_cast<SegmentHead*>(base)->token, segment->offer().token.data(),
              SharedMemoryOffer::kTokenBytes);
  if (fcntl(segment->file_.get(), F_ADD_SEALS, kSegmentSeals) != 0) return SystemError("file seals");
  return segment;
}

SharedSegment::SharedSegment(FileDescriptor file, std::byte* base, SharedMemoryOffer offer)
    : file_(std::move(file)), base_(base), offer_(std::move(offer)) {
  free_.emplace(kSegmentHeadBytes, offer_.bytes - kSegmentHeadBytes);
}

SharedSegment::~SharedSegment() { munmap(base_, offer_.bytes); }

float* SharedSegment::Allocate(size_t length) {
  if (length == 0 || length > offer_.bytes / sizeof(float)) return nullptr;
  const size_t bytes = RoundUp(length * sizeof(float), kAlignment);
  MutexLock lock(&mutex_);
  for (auto range = free_.begin(); range != free_.end(); ++range) {
    const auto [offset, available] = *range;
    if (available < bytes) continue;
    free_.erase(range);
    if (available > bytes) free_.emplace(offset + bytes, available - bytes);
    return reinterpret_cast<float*>(base_ + offset);
  }
  ++refused_;
  return nullptr;
}

void SharedSegment::Free(float* floats, size_t length) {
  const auto offset = static_cast<size_t>(reinterpret_cast<std::byte*>(floats) - base_);
  const size_t bytes = RoundUp(length * sizeof(float), kAlignment);
  MutexLock lock(&mutex_);
  const auto [range, added] = free_.emplace(offset, bytes);
  TESSERA_CHECK(added);
  const auto next = std::next(range);
  if (next != free_.end() && range->first + range->second == next->first) {
    range->second += next->second;
    free_.erase(next);
  }
  if (range == free_.begin()) return;
  const auto previous = std::prev(range);
  if (previous->first + previous->second != range->first) return;
  previous->second += range->second;
  free_.erase(range);
}

std::optional<uint64_t> SharedSegment::OffsetOf(absl::Span<const uint8_t> bytes) const {
  const auto begin = reinterpret_cast<uintptr_t>(base_);
  const auto first = reinterpret_cast<uintptr_t>(bytes.data());
  if (first < begin + kSegmentHeadBytes || first - begin >= offer_.bytes) return std::nullopt;
  if (bytes.size() > offer_.bytes - (first - begin)) return std::nullopt;
  return first - begin;
}

int64_t SharedSegment::refused() const {
  MutexLock lock(&mutex_);
  return refused_;
}

}  // namespace tessera
