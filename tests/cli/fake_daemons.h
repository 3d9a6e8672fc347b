// Shell scripts in place of the daemons, for tests of what starts and watches them.
#pragma once

#include <sys/stat.h>

#include <fstream>
#include <string>

#include "cli/local_cluster.h"
#include "common/run_folder.h"
#include "tests/common/temporary_folder.h"

namespace tessera::cli {

inline constexpr char kStay[] = "exec sleep 60";
// Leaves an address where nobody answers, and stays.
inline constexpr char kFakeCoordinator[] = R"(
while [ "$1" != --run-folder ]; do shift; done
echo 127.0.0.1:1 > "$2/.coordinator" && mv "$2/.coordinator" "$2/coordinator"
exec sleep 60)";

// A run folder, and programs that are what each test writes.
class FakeDaemons {
 public:
  FakeDaemons() {
    const auto run = RunFolder::Create(folder_.File("runs"), "job");
    run_folder_ = run.ok() ? run->path() : "";
    Write("tessera-coordinator", kFakeCoordinator);
    Write("tessera-server", kStay);
    Write("tessera-worker", kStay);
  }

  void Write(const std::string& program, const std::string& script) const {
    std::ofstream(folder_.File(program)) << "#!/bin/sh\n" << script << "\n";
    chmod(folder_.File(program).c_str(), 0755);
  }
  std::string File(const std::string& name) const { return folder_.File(name); }
  const std::string& run_folder() const { return run_folder_; }
  ClusterOptions Cluster() const {
    return {.programs = folder_.path(),
            .config = "job.yaml",
            .settings = {"train.epochs=1"},
            .run_folder = run_folder_,
            .port = 0,
            .servers = 2,
            .workers = 2};
  }

 private:
  TemporaryFolder folder_;
  std::string run_folder_;
};

}  // namespace tessera::cli
