#include "worker/data/image_folder.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kAnyChannels = 0;
// Beyond this, memory grows with the images that are there, whatever size the first one claims.
constexpr size_t kReservedBytes = size_t{1} << 30;

bool IsImageName(const std::string& name) {
  const std::string ending = absl::AsciiStrToLower(fs::path(name).extension().string());
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

// The names in `folder` for which keep(entry) holds, in byte order.
template <typename Keep>
absl::StatusOr<std::vector<std::string>> List(const std::string& folder, const Keep& keep) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (keep(*entry)) names.push_back(entry->path().filename().string());
  }
  if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory) {
    return absl::NotFoundError(absl::StrCat("no folder ", folder));
  }
  if (error) return absl::UnavailableError(absl::StrCat(folder, ": ", error.message()));
  std::sort(names.begin(), names.end());
  return names;
}

bool IsFolder(const fs::directory_entry& entry) {
  std::error_code error;
  return entry.is_directory(error);
}

// kAnyChannels, 1 or 3.
absl::StatusOr<int64_t> ReadChannels(Options* options) {
  TESSERA_ASSIGN_OR_RETURN(const std::string text, options->String("channels", "auto"));
  if (text == "auto") return kAnyChannels;
  if (text == "1" || text == "3") return text == "1" ? 1 : 3;
  return options->Error("channels", absl::StrCat("`channels` must be auto, 1 or 3, not `", text, "`"));
}

// [H, W], or empty when the option is absent.
absl::StatusOr<Shape> ReadSize(Options* options) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<std::string> texts, options->StringList("size"));
  Shape size;
  for (const std::string& text : texts) {
    if (!absl::SimpleAtoi(text, &size.emplace_back())) size.back() = 0;
  }
  const bool valid = size.size() == 2 && CheckImageSize(size[0], size[1]).ok();
  if (valid || !options->Has("size")) return size;
  return options->Error("size",
                        absl::StrCat("`size` is [H, W], two whole numbers from 1 to ", kMaxImageSide));
}

std::string ChannelText(int64_t channels) { return channels == 1 ? "grey" : "in colour"; }

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> ImageFolderDataset::Create(Options options) {
  std::unique_ptr<ImageFolderDataset> dataset(new ImageFolderDataset);
  TESSERA_ASSIGN_OR_RETURN(const std::string path, options.RequiredString("path"));
  TESSERA_ASSIGN_OR_RETURN(const std::string split, options.String("split", ""));
  TESSERA_ASSIGN_OR_RETURN(const int64_t channels, ReadChannels(&options));
  TESSERA_ASSIGN_OR_RETURN(const Shape size, ReadSize(&options));
  TESSERA_RETURN_IF_ERROR(options.Finish("data format `image_folder`"));
  const absl::Status listed = dataset->ListClasses(split.empty() ? path : (fs::path(path) / split).string());
  if (!listed.ok()) return absl::Status(listed.code(), options.Error("path", listed.message()).message());

  TESSERA_ASSIGN_OR_RETURN(const ImageHeader first, ReadImageHeader(dataset->files_.front().path));
  dataset->convert_ = channels != kAnyChannels;
  dataset->resize_ = !size.empty();
  dataset->inputs_ = {
      {nn::kImageName,
       {dataset->convert_ ? channels : first.channels, dataset->resize_ ? size[0] : first.height,
        dataset->resize_ ? size[1] : first.width}}};
  return dataset;
}

absl::Status ImageFolderDataset::ListClasses(const std::string& folder) {
  TESSERA_ASSIGN_OR_RETURN(class_names_, List(folder, IsFolder));
  if (class_names_.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(folder, " has no folders of images, one for each class"));
  }
  for (const std::string& name : class_names_) {
    TESSERA_RETURN_IF_ERROR(ListImages((fs::path(folder) / name).string()));
  }
  if (files_.size() <= std::numeric_limits<uint32_t>::max()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("too many images: ", files_.size()));
}

absl::Status ImageFolderDataset::ListImages(const std::string& folder) {
  const int32_t label = files_.empty() ? 0 : files_.back().label + 1;
  const auto is_image = [](const fs::directory_entry& entry) {
    return IsImageName(entry.path().filename().string());
  };
  TESSERA_ASSIGN_OR_RETURN(const std::vector<std::string> names, List(folder, is_image));
  for (const std::string& name : names) files_.push_back({(fs::path(folder) / name).string(), label});
  if (!names.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("class folder ", folder, " has no .jpg, .jpeg or .png"));
}

absl::Status ImageFolderDataset::Load() const {
  std::call_once(load_once_, [this] { loaded_ = DecodeAll(); });
  return loaded_;
}

absl::Status ImageFolderDataset::DecodeAll() const {
  const auto length = static_cast<size_t>(NumElements(inputs_[0].shape));
  std::vector<uint8_t> pixels;
  pixels.reserve(std::min(files_.size() * length, kReservedBytes));
  for (const File& file : files_) {
    TESSERA_ASSIGN_OR_RETURN(const Image image, Decode(file));
    pixels.resize(pixels.size() + length);
    CopyPlanes(image, absl::MakeSpan(pixels).last(length));
  }
  pixels_ = std::move(pixels);
  return absl::OkStatus();
}

absl::StatusOr<Image> ImageFolderDataset::Decode(const File& file) const {
  const Shape& shape = inputs_[0].shape;
  TESSERA_ASSIGN_OR_RETURN(Image image, ReadImageFile(file.path));
  if (image.channels != shape[0]) {
    if (!convert_) {
      return absl::InvalidArgumentError(absl::StrCat(file.path, " is ", ChannelText(image.channels),
                                                     " but the first image is ", ChannelText(shape[0]),
                                                     "; say `channels: 1` or `channels: 3`"));
    }
    image = image.channels == 3 ? ToGrey(image) : ToColour(image);
  }
  if (image.height == shape[1] && image.width == shape[2]) return image;
  if (resize_) return Resize(image, shape[1], shape[2]);
  return absl::InvalidArgumentError(absl::StrCat(file.path, " has ", image.height, "x", image.width,
                                                 " pixels but the first image has ", shape[1], "x", shape[2],
                                                 "; say `size: [H, W]` to resize all"));
}

InputValues ImageFolderDataset::Values(uint32_t index, size_t /*input*/) const {
  const auto length = static_cast<size_t>(NumElements(inputs_[0].shape));
  TESSERA_CHECK(pixels_.size() == files_.size() * length);
  return absl::MakeConstSpan(pixels_).subspan(index * length, length);
}

namespace {
const DatasetRegistry::Entry kEntry("image_folder", &ImageFolderDataset::Create);
}  // namespace

}  // namespace tessera
