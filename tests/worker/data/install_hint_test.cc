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

TEST(InstallHint, IsEmptyForOtherFolders) {
  EXPECT_EQ(InstallHint("/data/fashion-mnist"), "");
  EXPECT_EQ(InstallHint("/usr/share/datasets"), "");
  EXPECT_EQ(InstallHint(""), "");
}

}  // namespace
}  // namespace tessera
