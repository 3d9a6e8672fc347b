// Labelled grey images in the four files of MNIST and its successors (Fashion-MNIST, KMNIST, ...), in `path`:
//   split train: train-images-idx3-ubyte, train-labels-idx1-ubyte
//   split test:  t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte
// each plain or with `.gz` (the plain one wins). Shape [1,H,W]. Registered as format "idx".
// Options: path (required), split: train | test (required).
// Source: http://yann.lecun.com/exdb/mnist/.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "worker/data/dataset.h"
#include "worker/data/idx_file.h"

namespace tessera {

// Immutable; thread-safe.
class IdxDataset : public Dataset {
 public:
  // Errors: kNotFound, no such files (with the position of `path`, and the package to install where one has
  // them); kInvalidArgument, options; kDataLoss, not as many labels as images; those of ReadIdxFile.
  static absl::StatusOr<std::unique_ptr<Dataset>> Create(Options options);

  uint32_t size() const override { return images_.dimensions[0]; }
  const std::vector<nn::InputSpec>& inputs() const override { return inputs_; }
  int32_t classes() const override { return classes_; }
  InputValues Values(uint32_t index, size_t input) const override;
  int32_t Label(uint32_t index) const override { return labels_.values[index]; }

 private:
  IdxDataset(IdxArray images, IdxArray labels);

  const IdxArray images_;                    // [N,H,W]
  const IdxArray labels_;                    // [N]
  const std::vector<nn::InputSpec> inputs_;  // image
  const int32_t classes_;
};

}  // namespace tessera
