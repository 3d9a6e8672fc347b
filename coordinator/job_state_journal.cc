// JobState to bytes and back.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "coordinator/job_comparison.h"
#include "coordinator/job_state.h"

namespace tessera {
namespace {

// A coordinator that died may have given ids that it had not journaled: those of another epoch are others.
constexpr int32_t kIdsOfAnEpoch = 1 << 16;

JobEvent EventOf(const wire::Event& event) {
  JobEvent out{event.what(), event.who(), event.message(), absl::UnixEpoch(), event.pid()};
  absl::ParseTime(absl::RFC3339_full, event.when(), &out.when, nullptr);
  return out;
}

bool WasEnded(const wire::JournalState& journal) {
  const wire::Phase phase = journal.progress().phase();
  return phase == wire::FAILED || phase == wire::STOPPED;
}

}  // namespace

std::string JobState::ToJournal(absl::Time now) const {
  wire::JournalState journal;
  journal.set_job_yaml(job_yaml_);
  planner_.ToJournal(&journal);
  NodesToJournal(&journal);
  progress_.ToJournal(now, journal.mutable_progress());
  for (const auto& [clock, files] : checkpoints_.UnderWay()) {
    wire::JournalCheckpoint* const checkpoint = journal.add_checkpoints();
    checkpoint->set_clock(clock);
    checkpoint->mutable_files()->Assign(files.begin(), files.end());
  }
  journal.set_checkpoint_step(checkpoint_step_);
  journal.set_checkpoint_folder(checkpoint_folder_);
  counters_.ToJournal(&journal);
  journal.set_rewinds(rewinds_);
  recomputed_.ToJournal(&journal);
  journal.set_resumed_from_step(resumed_from_.value_or(-1));
  wire::JobStatus status;
  FillEpochsAndEvents(&status);
  *journal.mutable_events() = std::move(*status.mutable_events());
  return journal.SerializeAsString();
}

void JobState::NodesToJournal(wire::JournalState* journal) const {
  journal->set_next_node_id(membership_.next_id());
  journal->set_fingerprint(membership_.fingerprint());
  for (const auto& [id, node] : membership_.nodes()) {
    if (!node.alive()) continue;
    wire::JournalNode* const out = journal->add_nodes();
    out->set_id(id);
    out->set_index(node.index);
    out->set_kind(node.introduction.role == NodeRole::kServer ? wire::SERVER : wire::WORKER);
    out->set_address(node.introduction.address);
    out->set_host(node.introduction.host);
    out->set_pid(node.introduction.pid);
    out->set_incarnation(node.introduction.incarnation);
    out->set_fingerprint(node.introduction.fingerprint);
    out->set_draining(node.draining);
  }
}

bool JobState::WasDone(const std::string& bytes) {
  wire::JournalState journal;
  return journal.ParseFromString(bytes) && journal.progress().phase() == wire::DONE;
}

absl::Status JobState::FromJournal(const std::string& bytes, absl::Time now) {
  wire::JournalState journal;
  if (!journal.ParseFromString(bytes)) return absl::DataLossError("the journal is no state of a job");
  TESSERA_RETURN_IF_ERROR(CheckSameMaths(journal.job_yaml(), job_yaml_));
  TESSERA_RETURN_IF_ERROR(Annotate(planner_.FromJournal(journal), "journal"));
  TESSERA_RETURN_IF_ERROR(Annotate(progress_.FromJournal(journal.progress(), now), "journal"));
  NodesFromJournal(journal, now);
  NotePrimaries(/*anew=*/true);
  for (const wire::JournalCheckpoint& checkpoint : journal.checkpoints()) {
    checkpoints_.SetUnderWay(checkpoint.clock(), {checkpoint.files().begin(), checkpoint.files().end()});
  }
  checkpoint_step_ = journal.checkpoint_step();
  checkpoint_folder_ = journal.checkpoint_folder();
  rewinds_ = journal.rewinds();
  recomputed_.FromJournal(journal);
  if (journal.resumed_from_step() >= 0) resumed_from_ = journal.resumed_from_step();
  for (const wire::Event& event : journal.events()) log_.Restore(EventOf(event));
  epochs_logged_ = progress_.FinishedEpochs().size();
  progress_seen_ = now;
  // Until a node of before is heard of: then only the coordinator was away.
  resuming_ = true;
  for (const auto& [id, node] : membership_.nodes()) first_new_id_ = std::max(first_new_id_, id + 1);
  AddEvent({"restart", plan_.job.name,
            absl::StrCat("the coordinator was started again, at step ", progress_.MinClock(), "; ",
                         membership_.nodes().size(), " nodes are known"),
            now, 0});
  return absl::OkStatus();
}

void JobState::NodesFromJournal(const wire::JournalState& journal, absl::Time now) {
  membership_.SkipIdsTo(std::max<int32_t>(journal.next_node_id(), 1));
  membership_.SkipIdsTo(
      static_cast<int32_t>(std::min<int64_t>(journal.epoch() + 1, INT16_MAX - 1) * kIdsOfAnEpoch));
  membership_.set_fingerprint(journal.fingerprint());
  counters_.FromJournal(journal);
  for (const wire::JournalNode& in : journal.nodes()) {
    Node node;
    node.id = in.id();
    node.index = in.index();
    node.introduction = {.role = in.kind() == wire::SERVER ? NodeRole::kServer : NodeRole::kWorker,
                         .address = in.address(),
                         .host = in.host(),
                         .pid = in.pid(),
                         .incarnation = in.incarnation(),
                         .fingerprint = in.fingerprint()};
    node.last_seen = now;
    node.draining = in.draining();
    if (WasEnded(journal)) {
      counters_.Retire(node);
      continue;  // they have ended as they were told
    }
    membership_.Restore(std::move(node));
  }
}

}  // namespace tessera
