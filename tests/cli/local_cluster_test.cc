#include "cli/local_cluster.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "gmock/gmock.h"
#include "tests/cli/children.h"
#include "tests/cli/fake_daemons.h"

namespace tessera::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;

constexpr absl::Duration kLong = absl::Seconds(30);

class LocalClusterTest : public testing::Test {
 protected:
  absl::Status Start(LocalCluster* cluster, absl::Duration timeout = kLong, bool interrupted = false) {
    return cluster->Start(timeout, -1, [interrupted] { return interrupted; });
  }

  FakeDaemons daemons_;
};

TEST_F(LocalClusterTest, StartsCoordinatorThenNodes) {
  LocalCluster cluster(daemons_.Cluster());
  ASSERT_TRUE(Start(&cluster).ok());
  EXPECT_EQ(cluster.address(), "127.0.0.1:1");
  ASSERT_EQ(cluster.processes()->size(), 5u);
  EXPECT_EQ(cluster.processes()->process(0).name(), "coordinator");
  EXPECT_EQ(cluster.processes()->process(2).name(), "server 1");
  EXPECT_EQ(cluster.processes()->process(4).name(), "worker 1");
}

TEST_F(LocalClusterTest, TellsDaemonsWhatTheyNeed) {
  daemons_.Write("tessera-coordinator", std::string("echo \"$*\"\n") + kFakeCoordinator);
  daemons_.Write("tessera-worker", "echo \"$*\"");
  LocalCluster cluster(daemons_.Cluster());
  ASSERT_TRUE(Start(&cluster).ok());
  ASSERT_TRUE(Ends(cluster.processes()->process(3).pidfd()));
  EXPECT_EQ(Contents(LogFile(daemons_.run_folder(), "coordinator")),
            absl::StrCat("--config job.yaml --bind 127.0.0.1:0 --run-folder ", daemons_.run_folder(),
                         " --set train.epochs=1\n"));
  EXPECT_EQ(Contents(LogFile(daemons_.run_folder(), "worker 0")), "--coordinator 127.0.0.1:1\n");
}

TEST_F(LocalClusterTest, GivesEachNodeOfATracedClusterAFileAndKnowsWhose) {
  daemons_.Write("tessera-worker", "echo \"$*\" > \"$4\"");
  ClusterOptions options = daemons_.Cluster();
  options.traced = true;
  LocalCluster cluster(options);
  ASSERT_TRUE(Start(&cluster).ok());
  Process& first = cluster.processes()->process(3);
  Process& second = cluster.processes()->process(4);
  ASSERT_TRUE(Ends(first.pidfd()) && Ends(second.pidfd()));
  cluster.AdoptNames({{first.pid(), "worker 1"}, {second.pid(), "worker 0"}});
  const std::vector<TracePart> parts = cluster.trace_parts();
  std::vector<std::string> names;
  for (const TracePart& part : parts) names.push_back(part.process);
  ASSERT_THAT(names, testing::ElementsAre("worker 0", "worker 1", "server 0", "server 1"));
  EXPECT_EQ(parts[0].path, absl::StrCat(daemons_.run_folder(), "/trace/4.json"));
  for (size_t worker : {0, 1}) {
    EXPECT_EQ(Contents(parts[worker].path),
              absl::StrCat("--coordinator 127.0.0.1:1 --trace ", parts[worker].path, "\n"));
  }
}

TEST_F(LocalClusterTest, AClusterLeavesNoTraceUnlessAsked) {
  LocalCluster cluster(daemons_.Cluster());
  ASSERT_TRUE(Start(&cluster).ok());
  EXPECT_THAT(cluster.trace_parts(), testing::IsEmpty());
}

TEST_F(LocalClusterTest, StartsAProcessAgainInItsPlace) {
  daemons_.Write("tessera-server", "echo \"$*\"");
  LocalCluster cluster(daemons_.Cluster());
  ASSERT_TRUE(Start(&cluster).ok());
  const size_t index = cluster.IndexOf({PlaceKind::kServer, 1});
  EXPECT_EQ(index, 2u);
  const pid_t before = cluster.processes()->process(index).pid();
  ASSERT_TRUE(Ends(cluster.processes()->process(index).pidfd()));
  cluster.processes()->TakeExits();
  ASSERT_TRUE(cluster.Restart(index).ok());
  Process& process = cluster.processes()->process(index);
  EXPECT_NE(process.pid(), before);
  EXPECT_EQ(process.name(), "server 1");
  ASSERT_TRUE(Ends(process.pidfd()));
  EXPECT_THAT(cluster.processes()->TakeExits(), testing::Contains(index));
  EXPECT_EQ(Contents(LogFile(daemons_.run_folder(), "server 1")),
            "--coordinator 127.0.0.1:1\n--coordinator 127.0.0.1:1\n");
}

TEST_F(LocalClusterTest, CoordinatorStartedAgainResumesAtItsAddress) {
  daemons_.Write("tessera-coordinator", std::string("echo \"$*\"\n") + kFakeCoordinator);
  LocalCluster cluster(daemons_.Cluster());
  ASSERT_TRUE(Start(&cluster).ok());
  Process& first = cluster.processes()->process(LocalCluster::kCoordinator);
  first.Kill(SIGKILL);
  ASSERT_TRUE(Ends(first.pidfd()));
  cluster.processes()->TakeExits();
  daemons_.Write("tessera-coordinator", "echo \"$*\"");
  ASSERT_TRUE(cluster.Restart(LocalCluster::kCoordinator).ok());
  ASSERT_TRUE(Ends(cluster.processes()->process(LocalCluster::kCoordinator).pidfd()));
  EXPECT_THAT(Contents(LogFile(daemons_.run_folder(), "coordinator")),
              testing::EndsWith(absl::StrCat("\n--config job.yaml --bind 127.0.0.1:1 --run-folder ",
                                             daemons_.run_folder(), " --set train.epochs=1 --resume\n")));
}

TEST_F(LocalClusterTest, ResumedClusterDoesNotBelieveTheOldAddress) {
  std::ofstream(AddressFile(daemons_.run_folder())) << "127.0.0.1:9\n";
  ClusterOptions options = daemons_.Cluster();
  options.resume = true;
  daemons_.Write("tessera-coordinator", std::string("echo \"$*\"\n") + kFakeCoordinator);
  LocalCluster cluster(options);
  ASSERT_TRUE(Start(&cluster).ok());
  EXPECT_EQ(cluster.address(), "127.0.0.1:1");
  EXPECT_THAT(Contents(LogFile(daemons_.run_folder(), "coordinator")), HasSubstr(" --resume\n"));
}

TEST_F(LocalClusterTest, FaultsAreTheNodesArguments) {
  daemons_.Write("tessera-server", "echo \"$*\"");
  daemons_.Write("tessera-worker", "echo \"$*\"");
  ClusterOptions options = daemons_.Cluster();
  options.fault_arguments = {"--fault-loss", "0.02"};
  options.fault_seed = 7;
  options.slowdowns = {{1, 4}};
  LocalCluster cluster(options);
  ASSERT_TRUE(Start(&cluster).ok());
  for (const size_t index : {2, 3, 4}) ASSERT_TRUE(Ends(cluster.processes()->process(index).pidfd()));
  EXPECT_EQ(Contents(LogFile(daemons_.run_folder(), "server 1")),
            "--coordinator 127.0.0.1:1 --fault-loss 0.02 --fault-seed 7002\n");
  EXPECT_EQ(Contents(LogFile(daemons_.run_folder(), "worker 0")),
            "--coordinator 127.0.0.1:1 --fault-loss 0.02 --fault-seed 7003\n");
  EXPECT_EQ(Contents(LogFile(daemons_.run_folder(), "worker 1")),
            "--coordinator 127.0.0.1:1 --slowdown 4 --fault-loss 0.02 --fault-seed 7004\n");
}

TEST_F(LocalClusterTest, MissingProgramIsNamedBeforeAnythingStarts) {
  std::filesystem::remove(daemons_.File("tessera-worker"));
  LocalCluster cluster(daemons_.Cluster());
  const absl::Status status = Start(&cluster);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tessera-worker"));
  EXPECT_EQ(cluster.processes()->size(), 0u);
}

TEST_F(LocalClusterTest, CoordinatorThatCannotStartIsQuoted) {
  daemons_.Write("tessera-coordinator", "echo starting; echo 'the port is in use' >&2; exit 1");
  LocalCluster cluster(daemons_.Cluster());
  const absl::Status status = Start(&cluster);
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(
      std::string(status.message()),
      AllOf(HasSubstr("coordinator (pid "), HasSubstr("exited with status 1: the port is in use; log: "),
            HasSubstr("logs/coordinator.log")));
}

TEST_F(LocalClusterTest, SilentCoordinatorIsWaitedForNotForever) {
  daemons_.Write("tessera-coordinator", kStay);
  LocalCluster cluster(daemons_.Cluster());
  EXPECT_EQ(Start(&cluster, absl::Milliseconds(20)).code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(LocalClusterTest, InterruptEndsTheWait) {
  daemons_.Write("tessera-coordinator", kStay);
  LocalCluster cluster(daemons_.Cluster());
  EXPECT_EQ(Start(&cluster, kLong, /*interrupted=*/true).code(), absl::StatusCode::kCancelled);
}

TEST_F(LocalClusterTest, AdoptsTheCoordinatorsNumbersAndMovesTheLogs) {
  daemons_.Write("tessera-server", "echo $$; exec sleep 60");
  LocalCluster cluster(daemons_.Cluster());
  ASSERT_TRUE(Start(&cluster).ok());
  Process& first = cluster.processes()->process(1);
  Process& second = cluster.processes()->process(2);
  cluster.AdoptNames({{first.pid(), "server 1"}, {second.pid(), "server 0"}});
  EXPECT_EQ(first.name(), "server 1");
  EXPECT_EQ(first.log_path(), LogFile(daemons_.run_folder(), "server 1"));
  EXPECT_THAT(
      cluster.DescribeExit(1, {.signaled = true, .code = 9}),
      MatchesRegex("server 1 \\(pid [0-9]+\\) was killed by signal 9 \\(Killed\\); log: .*server-1.log"));
  first.Kill(SIGKILL);
  second.Kill(SIGKILL);
  ASSERT_TRUE(Ends(first.pidfd()) && Ends(second.pidfd()));
  const std::string log = Contents(first.log_path());
  EXPECT_TRUE(log.empty() || log == absl::StrCat(first.pid(), "\n"));
}

TEST_F(LocalClusterTest, NamesOfOthersChangeNothing) {
  LocalCluster cluster(daemons_.Cluster());
  ASSERT_TRUE(Start(&cluster).ok());
  cluster.AdoptNames({{cluster.processes()->process(1).pid(), "server 7"}});
  EXPECT_EQ(cluster.processes()->process(1).name(), "server 0");
}

TEST(LocalClusterPorts, ListenerTakesThePort) {
  const FileDescriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  ASSERT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  EXPECT_FALSE(PortIsFree(ntohs(address.sin_port)));
  EXPECT_TRUE(PortIsFree(0));
}

TEST(LocalClusterPorts, AddressesHaveAPort) {
  EXPECT_EQ(*PortOf("127.0.0.1:7070"), 7070);
  EXPECT_EQ(*PortOf("[::1]:0"), 0);
  for (const char* address : {"", "host", "host:", "host:x", "host:-1", "host:65536"}) {
    EXPECT_EQ(PortOf(address).status().code(), absl::StatusCode::kInvalidArgument) << address;
  }
}

}  // namespace
}  // namespace tessera::cli
