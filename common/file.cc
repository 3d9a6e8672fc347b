#include "common/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera {
namespace {

constexpr int kClosed = -1;
constexpr mode_t kReadableByAll = 0644;

absl::Status SystemError(const std::string& path, absl::string_view action, int error) {
  const std::string message =
      absl::StrCat(path, ": cannot ", action, ": ", std::generic_category().message(error));
  if (error == ENOENT) return absl::NotFoundError(message);
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) return absl::ResourceExhaustedError(message);
  return absl::UnavailableError(message);
}

// A file that is being written beside its target; removed unless Commit succeeds.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& target)
      : target_(target),
        path_(absl::StrCat(target, ".XXXXXX")),
        descriptor_(mkostemp(path_.data(), O_CLOEXEC)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  ~TemporaryFile() {
    if (descriptor_ == kClosed) return;
    close(descriptor_);
    if (!committed_) unlink(path_.c_str());
  }

  absl::Status Opened() const {
    return descriptor_ == kClosed ? Failed("create a file beside it") : absl::OkStatus();
  }

  absl::Status Write(absl::Span<const uint8_t> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return Failed("write");
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }

  absl::Status Commit() {
    if (fchmod(descriptor_, kReadableByAll) != 0 || fsync(descriptor_) != 0) return Failed("write");
    if (rename(path_.c_str(), target_.c_str()) != 0) return Failed("replace");
    committed_ = true;
    return SyncFolder();
  }

 private:
  // Writing fails for what is outside the file (a missing folder too), so there is no kNotFound here.
  absl::Status Failed(absl::string_view action) const {
    const absl::Status status = SystemError(target_, action, errno);
    return absl::IsNotFound(status) ? absl::UnavailableError(status.message()) : status;
  }

  absl::Status SyncFolder() const {
    const std::string parent = std::filesystem::path(target_).parent_path().string();
    const int folder = open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return Failed("open its folder");
    const absl::Status status = fsync(folder) == 0 ? absl::OkStatus() : Failed("write its folder");
    close(folder);
    return status;
  }

  const std::string target_;
  std::string path_;
  const int descriptor_;
  bool committed_ = false;
};

}  // namespace

InputFile::InputFile(std::string path, int descriptor, int64_t size)
    : path_(std::move(path)), descriptor_(descriptor), size_(size) {}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, kClosed)),
      size_(other.size_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

InputFile::~InputFile() {
  if (descriptor_ != kClosed) close(descriptor_);
}

absl::StatusOr<InputFile> InputFile::Open(const std::string& path) {
  // Without O_NONBLOCK the open of a pipe would wait for a writer.
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return SystemError(path, "open", errno);
  InputFile file(path, descriptor, 0);
  struct stat info {};
  if (fstat(descriptor, &info) != 0) return SystemError(path, "open", errno);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  file.size_ = info.st_size;
  return file;
}

absl::Status InputFile::ReadAt(int64_t offset, absl::Span<uint8_t> out) const {
  while (!out.empty()) {
    const ssize_t got = pread(descriptor_, out.data(), out.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError(path_, "read", errno);
    if (got == 0) {
      return absl::DataLossError(absl::StrCat(path_, ": ends at byte ", offset, ", ", out.size(),
                                              " bytes short of what it should hold"));
    }
    offset += got;
    out.remove_prefix(static_cast<size_t>(got));
  }
  return absl::OkStatus();
}

absl::Status WriteFileAtomically(const std::string& path,
                                 absl::Span<const absl::Span<const uint8_t>> pieces) {
  TemporaryFile temporary(path);
  TESSERA_RETURN_IF_ERROR(temporary.Opened());
  for (const absl::Span<const uint8_t> piece : pieces) TESSERA_RETURN_IF_ERROR(temporary.Write(piece));
  return temporary.Commit();
}

}  // namespace tessera
