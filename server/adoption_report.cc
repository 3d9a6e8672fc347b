#include "server/adoption_report.h"

namespace tessera {

void AdoptionReport::Begin(const wire::ClusterMap& map, const std::shared_ptr<ParameterStore>& store) {
  MutexLock lock(&mutex_);
  if (report_ == nullptr) return;
  map_.reset();
  if (store == nullptr || store->open()) return report_(map);
  map_ = map;
  store_ = store;
}

void AdoptionReport::OnOpen() {
  MutexLock lock(&mutex_);
  const std::shared_ptr<ParameterStore> store = store_.lock();
  if (!map_.has_value() || store == nullptr || !store->open()) return;
  report_(*map_);
  map_.reset();
}

void AdoptionReport::Stop() {
  MutexLock lock(&mutex_);
  report_ = nullptr;
  map_.reset();
}

}  // namespace tessera
