#include "worker/data/install_hint.h"

#include "gtest/gtest.h"

namespace tessera {
namespace {

TEST(InstallHint, NamesThePackageOfAFolder) {
  constexpr char kHint[] = "; install it with `apt-get install dataset-fashion-mnist`";
  EXPECT_EQ(InstallHint("/usr/share/datasets/fashion-mnist"), kHint);
  EXPECT_EQ(InstallHint("/usr/share/datasets/fashion-mnist/"), kHint);
  EXPECT_EQ(InstallHint("/usr/share/datasets//./fashion-mnist"), kHint);
}

TEST(InstallHint, NamesWhatPackagesBringForOtherFolders) {
  for (const char* folder : {"/data/fashion-mnist", "/usr/share/datasets", ""}) {
    EXPECT_EQ(InstallHint(folder),
              "; Fashion-MNIST comes with `apt-get install dataset-fashion-mnist`, in "
              "/usr/share/datasets/fashion-mnist/");
  }
}

}  // namespace
}  // namespace tessera
