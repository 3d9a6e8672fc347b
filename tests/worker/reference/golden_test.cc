#include "tests/golden/golden.h"

#include <gtest/gtest.h>

namespace tessera::golden {
namespace {

class ReferenceGolden : public testing::TestWithParam<const char*> {};

TEST_P(ReferenceGolden, StepMatchesCommittedValues) { ExpectMatchesGolden("reference", GetParam()); }
TEST_P(ReferenceGolden, StepMatchesPyTorchInEveryElement) { ExpectMatchesPyTorch("reference", GetParam()); }

// vgg11 has no layer that alexnet has not, and three times its weights: it is left to the fast executors.
INSTANTIATE_TEST_SUITE_P(Zoo, ReferenceGolden,
                         testing::Values("lenet5", "resnet20", "resnet18", "resnet50", "alexnet"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tessera::golden
