// Images in one folder for each class, as PyTorch's ImageFolder reads them:
//   path/split/CLASS/*.jpg, *.jpeg or *.png (upper case too); other files are passed over.
// Labels count the classes in byte order of their names; samples are in order of class and file name. Every
// class folder has an image. Registered as format "image_folder".
// Options:
// - path (required).
// - split: train | test or any folder's name; absent: the classes lie in `path` itself.
// - channels: auto | 1 | 3; auto: as the first image, and all must be so; 1 and 3 convert (grey, colour).
// - size: [H, W], to which every image is resized (image.h says how); absent: all have one size.
// Source: https://pytorch.org/vision/stable/generated/torchvision.datasets.ImageFolder.html.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "worker/data/dataset.h"
#include "worker/data/image_file.h"

namespace tessera {

// Create looks at the folders and the first image alone; Load decodes all. Immutable but for Load;
// thread-safe.
class ImageFolderDataset : public Dataset {
 public:
  // Errors: kNotFound, no such folder (with the position of `path`); kInvalidArgument, options, a class
  // without an image; those of ReadImageHeader.
  static absl::StatusOr<std::unique_ptr<Dataset>> Create(Options options);

  uint32_t size() const override { return static_cast<uint32_t>(files_.size()); }
  const std::vector<nn::InputSpec>& inputs() const override { return inputs_; }
  int32_t classes() const override { return static_cast<int32_t>(class_names_.size()); }
  int32_t Label(uint32_t index) const override { return files_[index].label; }
  std::vector<std::string> class_names() const override { return class_names_; }
  // Errors: kInvalidArgument, an image of another size, or in colour where the first is grey or the other way
  // round; those of ReadImageFile; all name the file.
  absl::Status Load() const override;
  InputValues Values(uint32_t index, size_t input) const override;

 private:
  struct File {
    std::string path;
    int32_t label;
  };

  ImageFolderDataset() = default;
  absl::Status ListClasses(const std::string& folder);
  absl::Status ListImages(const std::string& folder);
  absl::Status DecodeAll() const;
  // In the shape of all, or an error that names the file.
  absl::StatusOr<Image> Decode(const File& file) const;

  std::vector<nn::InputSpec> inputs_;  // image
  std::vector<std::string> class_names_;
  std::vector<File> files_;
  bool convert_ = false;  // to the channels of inputs_
  bool resize_ = false;   // to the size of inputs_
  mutable std::once_flag load_once_;
  // Written by the first Load, constant afterwards.
  mutable absl::Status loaded_;
  mutable std::vector<uint8_t> pixels_;  // of all images, one after another
};

}  // namespace tessera
