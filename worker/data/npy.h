// Samples of one or several tensors in NumPy's array files, one file for each input and one for the labels,
// in the same order. Registered as format "npy".
// Options:
// - inputs (required): a list of NAME=FILE; .npy or .npy.gz. An array [N,F] gives rows [F], [N,C,H,W] gives
//   [C,H,W], [N,H,W] gives [1,H,W]. uint8 are pixels; float32 and float64 (as float32) are finite numbers.
// - labels (required): a file of N whole numbers from 0 on. The classes are those of the whole file: the
//   largest plus one.
// - split: train | test; absent: all samples. The samples are put in an order that depends on `split_seed`
//   alone; the first `part` of them, rounded down, is `train`, the others are `test`: none is in both.
// - part = 0.8, above 0 and below 1; split_seed = 1.
// A random split flatters where neighbouring samples are alike (pixels of one scene): then only files that
// were cut apart in space tell the accuracy on new ground.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "worker/data/dataset.h"
#include "worker/data/npy_file.h"

namespace tessera {

// Immutable; thread-safe.
class NpyDataset : public Dataset {
 public:
  // Errors: kInvalidArgument, options, or an array of a shape or type that has no place here; kDataLoss, not
  // as many labels as samples; those of ReadNpyFile.
  static absl::StatusOr<std::unique_ptr<Dataset>> Create(Options options);

  uint32_t size() const override { return static_cast<uint32_t>(samples_.size()); }
  const std::vector<nn::InputSpec>& inputs() const override { return inputs_; }
  int32_t classes() const override { return classes_; }
  int32_t Label(uint32_t index) const override;
  InputValues Values(uint32_t index, size_t input) const override;
  absl::Status CheckBeside(const Dataset& train) const override;

 private:
  // How the files are cut.
  struct Split {
    std::string name;  // empty: not at all
    double part = 1;
    uint64_t seed = 0;
  };

  NpyDataset() = default;
  static absl::StatusOr<Split> ReadSplit(Options* options);
  absl::Status ReadInput(const std::string& name, const std::string& path);
  absl::Status ReadLabels(const std::string& path);
  absl::Status Cut(const Options& options);

  std::vector<nn::InputSpec> inputs_;
  std::vector<NpyArray> arrays_;  // by input
  std::string label_path_;
  std::vector<int64_t> labels_;  // of the whole file
  int32_t classes_ = 0;
  Split split_;
  std::vector<uint32_t> samples_;  // of this split: places in the files
};

}  // namespace tessera
