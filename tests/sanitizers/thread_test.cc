// What the build with TESSERA_SANITIZE=thread must report, and end with.
#include <gtest/gtest.h>

#include <thread>

#include "common/mutex.h"

namespace tessera {
namespace {

TEST(ThreadSanitizerDeathTest, ReportsARace) {
  EXPECT_DEATH(
      {
        int count = 0;
        std::thread other([&count] { ++count; });
        ++count;
        other.join();
      },
      "ThreadSanitizer: data race");
}

TEST(ThreadSanitizerDeathTest, ReportsLocksThatAreTakenInBothOrders) {
  EXPECT_DEATH(
      {
        Mutex first;
        Mutex second;
        {
          MutexLock outer(&first);
          MutexLock inner(&second);
        }
        MutexLock outer(&second);
        MutexLock inner(&first);
      },
      "lock-order-inversion");
}

TEST(ThreadSanitizer, KnowsWhatAMutexGuards) {
  Mutex mutex;
  int count = 0;
  const auto add = [&] {
    for (int i = 0; i < 1000; ++i) {
      MutexLock lock(&mutex);
      ++count;
    }
  };
  std::thread other(add);
  add();
  other.join();
  EXPECT_EQ(count, 2000);
}

}  // namespace
}  // namespace tessera
