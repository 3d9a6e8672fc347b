#include "common/shared_memory/segment_view.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <limits>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "common/shared_memory/seals.h"
#include "common/shared_memory/segment.h"
#include "common/status.h"

namespace tessera {
namespace {

absl::Status NotOurs(const SharedMemoryOffer& offer, absl::string_view why) {
  return absl::UnavailableError(absl::StrCat("file ", offer.fd, " of process ", offer.pid, " ", why));
}

std::string PathOfOwn(const FileDescriptor& file) { return absl::StrCat("/proc/self/fd/", file.get()); }

bool IsNamedAsSegment(const FileDescriptor& file) {
  char target[PATH_MAX];
  const ssize_t length = readlink(PathOfOwn(file).c_str(), target, sizeof(target));
  return length > 0 &&
         absl::StartsWith({target, static_cast<size_t>(length)}, absl::StrCat("/memfd:", kSegmentName));
}

// The file that the offer names, to be read. First by path alone, which touches nothing; what it is then is
// looked at before it is opened.
absl::StatusOr<FileDescriptor> OpenFile(const SharedMemoryOffer& offer) {
  const std::string path = absl::StrCat("/proc/", offer.pid, "/fd/", offer.fd);
  const FileDescriptor found(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!found.valid()) return NotOurs(offer, absl::StrCat("can not be reached: ", std::strerror(errno)));
  if (!IsNamedAsSegment(found)) return NotOurs(offer, "is no segment");
  FileDescriptor file(open(PathOfOwn(found).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!file.valid()) return NotOurs(offer, absl::StrCat("can not be opened: ", std::strerror(errno)));
  return file;
}

absl::Status CheckFile(const SharedMemoryOffer& offer, const FileDescriptor& file) {
  struct stat status;
  if (fstat(file.get(), &status) != 0) return NotOurs(offer, "has no status");
  if (status.st_uid != geteuid()) return NotOurs(offer, "belongs to another user");
  if (static_cast<uint64_t>(status.st_size) != offer.bytes || offer.bytes <= kSegmentHeadBytes) {
    return NotOurs(offer, absl::StrCat("has ", status.st_size, " bytes, not ", offer.bytes));
  }
  const int seals = fcntl(file.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSegmentSeals) != kSegmentSeals) return NotOurs(offer, "is not sealed");
  return absl::OkStatus();
}

bool HasToken(const void* base, const std::string& token) {
  return token.size() == SharedMemoryOffer::kTokenBytes &&
         std::memcmp(static_cast<const SegmentHead*>(base)->token, token.data(), token.size()) == 0;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const SegmentView>> SegmentView::Open(const SharedMemoryOffer& offer) {
  // Before its segment is recognised: so it is the process that was recognised, and not a later one of its
  // pid.
  TESSERA_ASSIGN_OR_RETURN(std::shared_ptr<const PeerProcess> owner, PeerProcess::Open(offer.pid));
  TESSERA_ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(offer));
  TESSERA_RETURN_IF_ERROR(CheckFile(offer, file));
  void* const base = mmap(nullptr, offer.bytes, PROT_READ, MAP_SHARED, file.get(), 0);
  if (base == MAP_FAILED) return NotOurs(offer, absl::StrCat("can not be mapped: ", std::strerror(errno)));
  std::shared_ptr<const SegmentView> view(
      new SegmentView(static_cast<const uint8_t*>(base), offer.bytes, std::move(owner)));
  if (!HasToken(base, offer.token)) return NotOurs(offer, "has another token");
  return view;
}

SegmentView::~SegmentView() { munmap(const_cast<uint8_t*>(base_), bytes_); }

absl::StatusOr<absl::Span<const uint8_t>> SegmentView::Find(const SharedTensorReference& tensor) const {
  if (tensor.offset < kSegmentHeadBytes || tensor.offset > bytes_ || tensor.bytes > bytes_ - tensor.offset) {
    return absl::InvalidArgumentError(absl::StrCat("a tensor of ", tensor.bytes, " bytes at ", tensor.offset,
                                                   " of a segment of ", bytes_, " bytes"));
  }
  if (tensor.bytes == 0 || tensor.offset % sizeof(float) != 0 || tensor.bytes % sizeof(float) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("a tensor of ", tensor.bytes, " bytes at ", tensor.offset,
                                                   " of a segment, which are no floats"));
  }
  return absl::MakeConstSpan(base_ + tensor.offset, tensor.bytes);
}

}  // namespace tessera
