#include "coordinator/run_summary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

// What nodes report is not trusted: a sum beyond the range of its type stays at the end of it.
void AddTo(int64_t* sum, int64_t value) {
  if (__builtin_add_overflow(*sum, value, sum)) *sum = std::numeric_limits<int64_t>::max();
}

Json StalenessJson(const RunSummary& summary) {
  const TransferCounters& counters = summary.counters;
  const bool known = counters.staleness_pushes == 0 || !counters.staleness_histogram.empty();
  const auto quantile = [&](double part) { return known ? Json(counters.StalenessQuantile(part)) : Json(); };
  return {{"mean", counters.StalenessMean()},
          {"p50", quantile(0.50)},
          {"p99", quantile(0.99)},
          {"max", counters.staleness_max},
          {"bound", summary.staleness_bound < 0 ? Json() : Json(summary.staleness_bound)},
          {"clock_lead", counters.clock_lead_max}};
}

// Over replicas and shards.
Json AppliedJson(const TransferCounters& counters) {
  const std::vector<int64_t>& min = counters.applied_min;
  const std::vector<int64_t>& max = counters.applied_max;
  if (min.empty() || max.empty()) return nullptr;
  return {{"min", *std::min_element(min.begin(), min.end())},
          {"max", *std::max_element(max.begin(), max.end())}};
}

Json EpochJson(const EpochHistory& epoch) {
  Json json = {{"epoch", epoch.epoch},
               {"train_loss", epoch.train_loss},
               {"train_accuracy", epoch.train_accuracy},
               {"test_loss", nullptr},
               {"test_accuracy", nullptr}};
  if (epoch.test.has_value()) {
    json["test_loss"] = epoch.test->loss;
    json["test_accuracy"] = epoch.test->accuracy;
  }
  return json;
}

Json EventJson(const JobEvent& event) {
  return {{"who", event.who},
          {"what", event.what},
          {"message", event.message},
          {"when", FormatEventTime(event.when)},
          {"pid", event.pid}};
}

// The last epoch's results stand for the run.
void AddResults(const RunSummary& summary, Json* json) {
  const Json last =
      EpochJson(summary.history.empty() ? EpochHistory{.train_loss = NAN} : summary.history.back());
  for (const char* key : {"test_accuracy", "test_loss", "train_loss"}) (*json)[key] = last[key];
}

// What either does not know, the other does.
template <typename Choose>
void Combine(const std::vector<int64_t>& from, const Choose& choose, std::vector<int64_t>* into) {
  const size_t both = std::min(from.size(), into->size());
  for (size_t i = 0; i < both; ++i) (*into)[i] = choose((*into)[i], from[i]);
  into->insert(into->end(), from.begin() + both, from.end());
}

template <typename Item, typename ToJson>
Json ListJson(const std::vector<Item>& items, ToJson to_json) {
  Json list = Json::array();
  for (const Item& item : items) list.push_back(to_json(item));
  return list;
}

}  // namespace

std::string FormatEventTime(absl::Time when) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", when, absl::UTCTimeZone());
}

void TransferCounters::Add(const TransferCounters& other) {
  AddTo(&pushed_bytes, other.pushed_bytes);
  AddTo(&pulled_bytes, other.pulled_bytes);
  AddTo(&shared_memory_bytes, other.shared_memory_bytes);
  AddTo(&staleness_pushes, other.staleness_pushes);
  AddTo(&staleness_sum, other.staleness_sum);
  staleness_max = std::max(staleness_max, other.staleness_max);
  staleness_histogram.resize(std::max(staleness_histogram.size(), other.staleness_histogram.size()));
  for (size_t i = 0; i < other.staleness_histogram.size(); ++i) {
    AddTo(&staleness_histogram[i], other.staleness_histogram[i]);
  }
  clock_lead_max = std::max(clock_lead_max, other.clock_lead_max);
  const auto less = [](int64_t a, int64_t b) { return std::min(a, b); };
  const auto more = [](int64_t a, int64_t b) { return std::max(a, b); };
  Combine(other.applied_min, less, &applied_min);
  Combine(other.applied_max, more, &applied_max);
  AddTo(&dropped, other.dropped);
}

double TransferCounters::StalenessMean() const {
  if (staleness_pushes == 0) return 0;
  return static_cast<double>(staleness_sum) / static_cast<double>(staleness_pushes);
}

int64_t TransferCounters::StalenessQuantile(double quantile) const {
  int64_t total = 0;
  for (const int64_t pushes : staleness_histogram) total += pushes;
  int64_t covered = 0;
  for (size_t staleness = 0; staleness < staleness_histogram.size(); ++staleness) {
    covered += staleness_histogram[staleness];
    if (static_cast<double>(covered) >= quantile * static_cast<double>(total)) {
      return static_cast<int64_t>(staleness);
    }
  }
  return 0;
}

std::string FormatSummary(const RunSummary& summary) {
  Json json;
  json["job"] = summary.job;
  json["status"] = summary.status;
  json["message"] = summary.message;
  json["seed"] = summary.seed;
  AddResults(summary, &json);
  json["epochs"] = summary.history.size();
  json["steps"] = summary.steps;
  json["updates_per_shard"] =
      summary.updates_per_shard.has_value() ? Json(*summary.updates_per_shard) : Json();
  json["images_per_second"] = summary.images_per_second;
  json["replica_images_per_second"] = summary.replica_images_per_second;
  json["wall_seconds"] = summary.wall_seconds;
  json["mode"] = summary.mode;
  json["replicas"] = summary.replicas;
  json["batch_size"] = summary.batch_size;
  json["workers"] = summary.workers;
  json["servers"] = summary.servers;
  json["weights_digest"] = summary.weights_digest.empty() ? Json() : Json(summary.weights_digest);
  json["pushed_bytes"] = summary.counters.pushed_bytes;
  json["pulled_bytes"] = summary.counters.pulled_bytes;
  json["shared_memory_bytes"] = summary.counters.shared_memory_bytes;
  json["staleness"] = StalenessJson(summary);
  json["applied_minibatches"] = AppliedJson(summary.counters);
  json["dropped"] = summary.dropped;
  json["dropped_over_shards"] = summary.counters.dropped;
  json["resumed_from_step"] =
      summary.resumed_from_step.has_value() ? Json(*summary.resumed_from_step) : Json();
  json["recomputed_steps"] = summary.recomputed_steps;
  json["retries"] = summary.retries;
  json["rewinds"] = summary.rewinds;
  json["history"] = ListJson(summary.history, EpochJson);
  json["events"] = ListJson(summary.events, EventJson);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tessera
