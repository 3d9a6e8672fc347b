#include "coordinator/run_summary.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

Json StalenessJson(const RunSummary& summary) {
  const TransferCounters& counters = summary.counters;
  const double mean = counters.staleness_pushes == 0 ? 0.0
                                                     : static_cast<double>(counters.staleness_sum) /
                                                           static_cast<double>(counters.staleness_pushes);
  return {{"mean", mean},
          {"p50", counters.StalenessQuantile(0.50)},
          {"p99", counters.StalenessQuantile(0.99)},
          {"max", counters.staleness_max},
          {"bound", summary.staleness_bound},
          {"clock_lead", summary.clock_lead}};
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
  pushed_bytes += other.pushed_bytes;
  pulled_bytes += other.pulled_bytes;
  staleness_pushes += other.staleness_pushes;
  staleness_sum += other.staleness_sum;
  staleness_max = std::max(staleness_max, other.staleness_max);
  staleness_histogram.resize(std::max(staleness_histogram.size(), other.staleness_histogram.size()));
  for (size_t i = 0; i < other.staleness_histogram.size(); ++i) {
    staleness_histogram[i] += other.staleness_histogram[i];
  }
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
  json["wall_seconds"] = summary.wall_seconds;
  json["mode"] = summary.mode;
  json["replicas"] = summary.replicas;
  json["batch_size"] = summary.batch_size;
  json["workers"] = summary.workers;
  json["servers"] = summary.servers;
  json["weights_digest"] = summary.weights_digest.empty() ? Json() : Json(summary.weights_digest);
  json["pushed_bytes"] = summary.counters.pushed_bytes;
  json["pulled_bytes"] = summary.counters.pulled_bytes;
  json["staleness"] = StalenessJson(summary);
  json["resumed_from_step"] = nullptr;
  json["recomputed_steps"] = 0;
  json["history"] = ListJson(summary.history, EpochJson);
  json["events"] = ListJson(summary.events, EventJson);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tessera
