#include "server/replicator.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/protocol.h"
#include "server/replication_messages.h"

namespace tessera {
namespace {

// Between two connections to one server.
constexpr absl::Duration kFirstBackoff = absl::Milliseconds(20);
constexpr absl::Duration kLongestBackoff = absl::Seconds(1);
// A connection that is slow, and not dead, has said something by then: so many leases.
constexpr int kMostPatience = 16;
// The thread is woken by what happens; this only bounds its waits.
constexpr absl::Duration kLongestWait = absl::Minutes(1);
// Of a mark that no answer has.
constexpr Version kNoMark = -2;

size_t BytesOf(const ShardLayout& layout) {
  size_t bytes = 0;
  for (const Shard& shard : layout.shards()) bytes += static_cast<size_t>(shard.bytes());
  return bytes;
}

}  // namespace

// One connection. Outlives the replicator by as long as it takes to end: `replicator_` is cleared first.
class Replicator::Link : public ExchangeReceiver {
 public:
  explicit Link(Replicator* replicator) : replicator_(replicator) {}

  // What is sent on it; `sender` is closed if the link is.
  void Begin(const std::shared_ptr<ExchangeSender>& sender, ExchangeMessage hello) {
    bool closed = false;
    {
      MutexLock lock(&mutex_);
      closed = replicator_ == nullptr;
      if (!closed) sender_ = sender;
    }
    if (closed) return sender->Close(absl::OkStatus());
    sender->Send(std::move(hello));
  }

  // No call into the replicator is under way or follows after this returns.
  void Close() {
    std::shared_ptr<ExchangeSender> sender;
    {
      MutexLock lock(&mutex_);
      replicator_ = nullptr;
      sender = std::move(sender_);
    }
    if (sender != nullptr) sender->Close(absl::OkStatus());
  }

  void OnMessage(ExchangeMessage message) override {
    MutexLock lock(&mutex_);
    if (replicator_ == nullptr || sender_ == nullptr) return;
    switch (message.kind) {
      case MessageKind::kHello:
        if (message.protocol_version == kProtocolVersion) return replicator_->OnHello(this, sender_);
        return replicator_->OnClosed(this);
      case MessageKind::kForwarded:
      case MessageKind::kCopied:
        return replicator_->OnMark(this, message);
      case MessageKind::kError:
        return replicator_->OnRefused(this, message);
      default:
        return;  // of no use, and no harm
    }
  }

  void OnClosed(absl::Status) override {
    MutexLock lock(&mutex_);
    if (replicator_ != nullptr) replicator_->OnClosed(this);
  }

 private:
  Mutex mutex_;  // taken before the replicator's
  std::shared_ptr<ExchangeSender> sender_ ABSL_GUARDED_BY(mutex_);
  Replicator* replicator_ ABSL_GUARDED_BY(mutex_);
};

Replicator::Replicator(ReplicatorOptions options)
    : options_(std::move(options)), random_(std::random_device{}()) {}

Replicator::~Replicator() { Close(); }

void Replicator::Start(Opener opener) {
  opener_ = std::move(opener);
  thread_ = std::thread([this] { Run(); });
}

void Replicator::Close() {
  {
    MutexLock lock(&mutex_);
    closing_ = true;
    work_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  Peers peers;
  std::vector<std::shared_ptr<Link>> links;
  {
    MutexLock lock(&mutex_);
    peers.swap(peers_);
    links.swap(retired_);
    for (const std::shared_ptr<Peer>& peer : peers) {
      peer->sender = nullptr;
      if (peer->link != nullptr) links.push_back(std::move(peer->link));
    }
  }
  for (const std::shared_ptr<Link>& link : links) link->Close();
}

void Replicator::SetMap(const std::shared_ptr<ParameterStore>& store, int64_t term, int64_t rewind,
                        std::vector<BackupPeer> peers) {
  MutexLock lock(&mutex_);
  if (closing_) return;
  const bool keep = store_.lock() == store && term <= term_ + 1;
  store_ = store;
  term_ = term;
  rewind_ = rewind;
  open_told_ = false;
  // In sync a round of all shards is kept: that must always have room.
  max_kept_bytes_ = std::max(options_.max_kept_bytes, store == nullptr ? 0 : 2 * BytesOf(store->layout()));
  Peers next;
  for (BackupPeer& peer : peers) {
    if (store != nullptr) next.push_back(TakePeerLocked(std::move(peer), keep));
  }
  for (const std::shared_ptr<Peer>& gone : peers_) {
    if (gone == nullptr) continue;
    gone->sender = nullptr;
    if (gone->link != nullptr) retired_.push_back(std::move(gone->link));
  }
  peers_ = std::move(next);
  work_.NotifyAll();
}

// The one that is there already, with its connection and what it has, or a new one.
std::shared_ptr<Replicator::Peer> Replicator::TakePeerLocked(BackupPeer peer, bool keep) {
  std::shared_ptr<Peer> taken;
  for (std::shared_ptr<Peer>& known : peers_) {
    if (known != nullptr && known->peer.node_id == peer.node_id && known->peer.address == peer.address)
      taken = std::move(known);
  }
  if (taken == nullptr) {
    taken = std::make_shared<Peer>();
    taken->backoff = kFirstBackoff;
    taken->patience = options_.lease;
  }
  std::map<ShardId, Course> before = std::exchange(taken->courses, {});
  taken->unsent.clear();
  taken->kept_bytes = 0;
  for (const bool joining : {false, true}) {
    for (const ShardId shard : joining ? peer.joining : peer.backups) {
      auto known = before.find(shard);
      Course& course = taken->courses[shard];
      if (keep && known != before.end()) course = std::move(known->second);
      course.joining = joining;
      taken->kept_bytes += course.kept_bytes;
    }
  }
  taken->peer = std::move(peer);
  BeginAgainLocked(taken.get(), /*new_term=*/true);
  return taken;
}

void Replicator::BeginAgainLocked(Peer* peer, bool new_term) {
  for (auto& [shard, course] : peer->courses) {
    course.wait = options_.first_wait;
    course.due = absl::Now();
    course.confirm = course.stage == Stage::kFollows;
    if (course.stage == Stage::kAsked) {
      RestartLocked(peer, shard, Stage::kAsk, absl::ZeroDuration());
    } else if (course.stage == Stage::kCopying && new_term) {
      RestartLocked(peer, shard, Stage::kCopy, absl::ZeroDuration());  // its pieces are of an older term
    } else {
      SendAgainLocked(peer, shard);
    }
  }
}

void Replicator::SendAgainLocked(Peer* peer, ShardId shard) {
  Course& course = peer->courses[shard];
  course.sent = 0;
  if (!course.kept.empty()) peer->unsent.insert(shard);
}

void Replicator::RestartLocked(Peer* peer, ShardId shard, Stage stage, absl::Duration delay) {
  Course& course = peer->courses[shard];
  ForgetLocked(peer, &course, course.kept.size());
  peer->unsent.erase(shard);
  course.stage = stage;
  course.base = {kNoMark, 0};
  course.due = absl::Now() + delay;
  work_.NotifyAll();
}

void Replicator::KeepLocked(Peer* peer, Course* course, Kept kept) {
  const size_t bytes = kept.message.tensor.size_bytes();
  course->kept_bytes += bytes;
  peer->kept_bytes += bytes;
  course->kept.push_back(std::move(kept));
}

void Replicator::ForgetLocked(Peer* peer, Course* course, size_t count) {
  for (; count > 0; --count) {
    const size_t bytes = course->kept.front().message.tensor.size_bytes();
    course->kept_bytes -= bytes;
    peer->kept_bytes -= bytes;
    course->kept.pop_front();
    if (course->sent > 0) --course->sent;
  }
}

absl::Duration Replicator::FirstWaitLocked(const Peer& peer) const {
  if (peer.answer_time == absl::ZeroDuration()) return options_.first_wait;
  return std::clamp(4 * peer.answer_time, std::min(options_.shortest_wait, options_.first_wait),
                    options_.first_wait);
}

void Replicator::WaitLocked(Course* course, absl::Duration wait) {
  course->wait = std::min(wait, options_.lease);
  course->due = absl::Now() + course->wait * DrawJitterLocked();
  if (course->due < wakes_) work_.NotifyAll();
}

// +-20 %, so that many shards are not asked about in step.
double Replicator::DrawJitterLocked() { return std::uniform_real_distribution<double>(0.8, 1.2)(random_); }

void Replicator::Add(ShardForward forward) {
  MutexLock lock(&mutex_);
  for (const std::shared_ptr<Peer>& peer : peers_) {
    const auto found = peer->courses.find(forward.shard);
    if (found == peer->courses.end()) continue;
    Course& course = found->second;
    if (course.stage == Stage::kAsk || course.stage == Stage::kCopy) continue;
    if (course.kept.size() >= kMaxKept || peer->kept_bytes >= max_kept_bytes_) {
      RestartLocked(peer.get(), forward.shard, Stage::kAsk, options_.first_wait);
      continue;
    }
    KeepLocked(peer.get(), &course, {forward.made, ToMessage(forward)});
    if (course.stage != Stage::kAsked) peer->unsent.insert(forward.shard);
  }
}

void Replicator::Flush(ShardId shard) {
  Peers peers;
  {
    MutexLock lock(&mutex_);
    for (const std::shared_ptr<Peer>& peer : peers_) {
      if (peer->unsent.count(shard) > 0) peers.push_back(peer);
    }
  }
  for (const std::shared_ptr<Peer>& peer : peers) Send(peer);
}

void Replicator::Send(const std::shared_ptr<Peer>& peer) {
  for (bool first = true;; first = false) {
    std::shared_ptr<ExchangeSender> sender;
    std::vector<ExchangeMessage> messages;
    {
      MutexLock lock(&mutex_);
      if (first && peer->sending) return;
      sender = peer->sender;
      if (sender != nullptr) messages = TakeUnsentLocked(peer.get());
      peer->sending = !messages.empty();
    }
    if (messages.empty()) return;
    for (ExchangeMessage& message : messages) {
      const int priority = message.shard;  // lower shards are needed first; of one shard all keep their order
      sender->Send(std::move(message), priority);
    }
    sender->Flush();
  }
}

std::vector<ExchangeMessage> Replicator::TakeUnsentLocked(Peer* peer) {
  std::vector<ExchangeMessage> messages;
  for (const ShardId shard : std::exchange(peer->unsent, {})) {
    Course& course = peer->courses[shard];
    if (course.sent == 0) {
      WaitLocked(&course, FirstWaitLocked(*peer));
      course.sent_at = absl::Now();
      course.asked = false;
    }
    for (; course.sent < course.kept.size(); ++course.sent) {
      ExchangeMessage& message = messages.emplace_back(course.kept[course.sent].message);
      message.term = term_;
      message.rewind = rewind_;
      message.may_wait = true;
      forwarded_bytes_ += static_cast<int64_t>(message.tensor.size_bytes());
    }
  }
  return messages;
}

std::shared_ptr<Replicator::Peer> Replicator::FindLocked(const Link* link) const {
  const auto found = std::find_if(peers_.begin(), peers_.end(),
                                  [link](const auto& peer) { return peer->link.get() == link; });
  return found == peers_.end() ? nullptr : *found;
}

void Replicator::OnHello(Link* link, std::shared_ptr<ExchangeSender> sender) {
  MutexLock lock(&mutex_);
  const std::shared_ptr<Peer> peer = FindLocked(link);
  if (peer == nullptr || peer->sender != nullptr) return;
  peer->sender = std::move(sender);
  peer->backoff = kFirstBackoff;
  BeginAgainLocked(peer.get(), /*new_term=*/false);
  work_.NotifyAll();
}

void Replicator::OnClosed(Link* link) {
  MutexLock lock(&mutex_);
  const std::shared_ptr<Peer> peer = FindLocked(link);
  if (peer != nullptr) LoseLocked(peer.get());
}

void Replicator::LoseLocked(Peer* peer) {
  retired_.push_back(std::move(peer->link));
  peer->link = nullptr;
  peer->sender = nullptr;
  peer->asked_at = absl::InfiniteFuture();
  peer->until = absl::Now() + peer->backoff * std::uniform_real_distribution<double>(0.5, 1.0)(random_);
  peer->backoff = std::min(2 * peer->backoff, kLongestBackoff);
  work_.NotifyAll();
}

void Replicator::HearLocked(Peer* peer) {
  peer->asked_at = absl::InfiniteFuture();
  peer->patience = options_.lease;
  if (!std::exchange(peer->silent, false)) return;
  news_.push_back(absl::StrCat(peer->peer.name, " answers again"));
  work_.NotifyAll();
}

void Replicator::GiveUpLocked(Peer* peer) {
  news_.push_back(
      absl::StrCat(peer->peer.name, " holds or is to get ", peer->courses.size(),
                   " shards of this server's, and has said nothing for ",
                   absl::FormatDuration(peer->sender == nullptr ? options_.lease : peer->patience),
                   ": its connection is opened again"));
  peer->silent = true;
  peer->patience = std::min(2 * peer->patience, kMostPatience * options_.lease);
  LoseLocked(peer);
}

void Replicator::OnMark(Link* link, const ExchangeMessage& answer) {
  std::shared_ptr<ParameterStore> store;
  NodeId node = 0;
  {
    MutexLock lock(&mutex_);
    const std::shared_ptr<Peer> peer = FindLocked(link);
    if (peer == nullptr) return;
    HearLocked(peer.get());
    if (answer.term != term_ || peer->courses.count(answer.shard) == 0) return;
    if (!TakeMarkLocked(peer.get(), answer.shard, answer)) return;
    store = store_.lock();
    node = peer->peer.node_id;
  }
  if (store != nullptr) Release(store, answer.shard, node, answer.version);
}

bool Replicator::TakeMarkLocked(Peer* peer, ShardId shard, const ExchangeMessage& answer) {
  Course& course = peer->courses[shard];
  if (course.stage == Stage::kAsk || course.stage == Stage::kCopy) return false;
  const ShardMark mark = MarkOf(answer);
  // Of several pieces of a copy the last one makes it.
  const auto has = std::find_if(course.kept.rbegin(), course.kept.rend(),
                                [&mark](const Kept& kept) { return kept.made == mark; });
  if (has == course.kept.rend() && mark != course.base) {
    // An answer may be late; but to a question whoever has never followed says what there is.
    const bool follows = course.stage == Stage::kFollows && mark.version >= 0;
    if (!answer.probe || follows) return false;
    if (course.stage == Stage::kCopying) {
      SendAgainLocked(peer, shard);
    } else {
      RestartLocked(peer, shard, Stage::kCopy, absl::ZeroDuration());
    }
    work_.NotifyAll();
    return false;
  }
  course.base = mark;
  FollowLocked(peer, shard, static_cast<size_t>(std::distance(has, course.kept.rend())), answer.probe);
  return true;
}

void Replicator::FollowLocked(Peer* peer, ShardId shard, size_t had, bool probe) {
  Course& course = peer->courses[shard];
  const bool followed = std::exchange(course.stage, Stage::kFollows) == Stage::kFollows;
  if (followed && had > 0 && !course.asked) {
    const absl::Duration took = absl::Now() - course.sent_at;
    absl::Duration& time = peer->answer_time;
    time = time == absl::ZeroDuration() ? took : time + (took - time) / 8;
  }
  ForgetLocked(peer, &course, had);
  if (probe) course.confirm = false;
  const bool lost =
      probe && course.sent > 0 && course.kept.front().made.version <= course.sent_before_question;
  if (!followed || lost) {
    SendAgainLocked(peer, shard);
    work_.NotifyAll();
  } else if (had > 0) {
    course.sent_at = absl::Now();  // of the next: no sooner than this
    course.asked = course.asked || course.sent > 0;
    WaitLocked(&course, FirstWaitLocked(*peer));
  } else if (course.sent > 0 && !probe) {
    course.due = std::min(course.due, absl::Now() + options_.shortest_wait);  // one is missing, it seems
    if (course.due < wakes_) work_.NotifyAll();
  }
}

void Replicator::Release(const std::shared_ptr<ParameterStore>& store, ShardId shard, NodeId node,
                         Version version) {
  if (!store->OnHas(shard, node, version).ok()) return;
  bool join = false;
  bool open = false;
  {
    MutexLock lock(&mutex_);
    const Course* const course = FindCourseLocked(shard, node);
    join = course != nullptr && course->joining && !course->joined;
    open = open_told_;
  }
  const bool joined = join && store->Join(shard, node, version).value_or(false);
  const bool opens = !open && store->open();
  if (!joined && !opens) return;
  {
    MutexLock lock(&mutex_);
    Course* const course = FindCourseLocked(shard, node);
    if (course != nullptr && joined) course->joined = true;
    if (opens) open_told_ = true;
  }
  if (opens && options_.on_open) options_.on_open();
  if (joined && options_.on_copied) options_.on_copied();
}

Replicator::Course* Replicator::FindCourseLocked(ShardId shard, NodeId node) {
  for (const std::shared_ptr<Peer>& peer : peers_) {
    const auto course = peer->courses.find(shard);
    if (peer->peer.node_id == node && course != peer->courses.end()) return &course->second;
  }
  return nullptr;
}

void Replicator::OnRefused(Link* link, const ExchangeMessage& answer) {
  MutexLock lock(&mutex_);
  const std::shared_ptr<Peer> peer = FindLocked(link);
  if (peer == nullptr) return;
  HearLocked(peer.get());
  // Another term, here or there: it is asked again, and meanwhile the map changes.
  if (absl::IsAborted(answer.error) || absl::IsUnavailable(answer.error) || answer.term != term_) return;
  const auto course = peer->courses.find(answer.shard);
  if (course == peer->courses.end() || course->second.stage == Stage::kAsk ||
      course->second.stage == Stage::kCopy)
    return;
  const bool unfit = absl::IsInvalidArgument(answer.error) || absl::IsDataLoss(answer.error);
  RestartLocked(peer.get(), answer.shard, unfit ? Stage::kCopy : Stage::kAsk, options_.first_wait);
}

std::vector<NodeId> Replicator::silent() const {
  std::vector<NodeId> silent;
  MutexLock lock(&mutex_);
  for (const std::shared_ptr<Peer>& peer : peers_) {
    if (peer->silent) silent.push_back(peer->peer.node_id);
  }
  return silent;
}

std::vector<std::pair<ShardId, NodeId>> Replicator::copied() const {
  std::vector<std::pair<ShardId, NodeId>> copied;
  MutexLock lock(&mutex_);
  for (const std::shared_ptr<Peer>& peer : peers_) {
    for (const auto& [shard, course] : peer->courses) {
      if (course.joining && course.joined) copied.emplace_back(shard, peer->peer.node_id);
    }
  }
  return copied;
}

int64_t Replicator::forwarded_bytes() const {
  MutexLock lock(&mutex_);
  return forwarded_bytes_;
}

void Replicator::Run() {
  while (true) {
    Chores chores;
    {
      MutexLock lock(&mutex_);
      while (!closing_) {
        absl::Time next = absl::InfiniteFuture();
        chores = CollectLocked(absl::Now(), &next);
        if (!chores.empty()) break;
        const absl::Time now = absl::Now();
        const absl::Duration wait = std::max(std::min(next - now, kLongestWait), absl::Milliseconds(1));
        wakes_ = now + wait;
        work_.WaitWithTimeout(&mutex_, wait);
        wakes_ = absl::InfinitePast();
      }
      if (closing_) return;
    }
    Perform(chores);
  }
}

Replicator::Chores Replicator::CollectLocked(absl::Time now, absl::Time* next) {
  Chores chores;
  for (const std::shared_ptr<Peer>& peer : peers_) {
    if (peer->courses.empty()) continue;
    if (now >= peer->asked_at + peer->patience) GiveUpLocked(peer.get());
    if (peer->sender == nullptr) {
      CollectConnectionLocked(peer.get(), now, next, &chores);
    } else {
      CollectCoursesLocked(peer, now, next, &chores);
      *next = std::min(*next, peer->asked_at + peer->patience);
    }
  }
  chores.close.swap(retired_);
  chores.news.swap(news_);
  return chores;
}

void Replicator::CollectConnectionLocked(Peer* peer, absl::Time now, absl::Time* next, Chores* chores) {
  if (now >= peer->until && peer->link != nullptr) {
    GiveUpLocked(peer);  // it does not say hello
  } else if (now >= peer->until) {
    peer->link = std::make_shared<Link>(this);
    peer->until = now + options_.lease;
    chores->open.emplace_back(peer->peer, peer->link);
  }
  *next = std::min(*next, peer->until);
}

void Replicator::CollectCoursesLocked(const std::shared_ptr<Peer>& peer, absl::Time now, absl::Time* next,
                                      Chores* chores) {
  if (!peer->unsent.empty() && !peer->sending) chores->send.push_back(peer);
  int copies = 0;
  for (const auto& [shard, course] : peer->courses) copies += course.stage == Stage::kCopying ? 1 : 0;
  for (auto& [shard, course] : peer->courses) {
    const bool waits = course.stage != Stage::kFollows || !course.kept.empty() || course.confirm;
    if (!waits || (course.stage == Stage::kCopy && copies >= kMostCopies)) continue;
    if (now < course.due) {
      *next = std::min(*next, course.due);
    } else if (course.stage == Stage::kCopy) {
      ++copies;
      WaitLocked(&course, 2 * course.wait);
      chores->copy.emplace_back(peer, shard);
    } else {
      WaitLocked(&course, course.stage == Stage::kAsk ? options_.first_wait : 2 * course.wait);
      chores->ask.emplace_back(peer, shard);
      peer->asked_at = std::min(peer->asked_at, now);
    }
  }
}

void Replicator::Perform(const Chores& chores) {
  for (const std::shared_ptr<Link>& link : chores.close) link->Close();
  for (const std::string& line : chores.news) {
    if (options_.on_silence) options_.on_silence(line);
  }
  for (const auto& [peer, link] : chores.open) {
    ExchangeMessage hello;
    {
      MutexLock lock(&mutex_);
      hello = HelloLocked();
    }
    link->Begin(opener_(peer, link), std::move(hello));
  }
  for (const auto& [peer, shard] : chores.copy) Copy(peer, shard);
  for (const auto& [peer, shard] : chores.ask) Ask(peer, shard);
  for (const std::shared_ptr<Peer>& peer : chores.send) Send(peer);
}

ExchangeMessage Replicator::HelloLocked() const {
  ExchangeMessage hello;
  hello.kind = MessageKind::kHello;
  hello.protocol_version = kProtocolVersion;
  hello.node = options_.node;
  hello.term = term_;
  hello.rewind = rewind_;
  hello.replication =
      std::make_shared<const ReplicationFields>(ReplicationFields{.node_id = options_.node_id});
  hello.credit_bytes = CreditWindow(0);
  return hello;
}

void Replicator::Ask(const std::shared_ptr<Peer>& peer, ShardId shard) {
  std::shared_ptr<ParameterStore> store;
  std::shared_ptr<ExchangeSender> sender;
  ExchangeMessage question = MarkQuestion(shard);
  bool begins = false;
  {
    MutexLock lock(&mutex_);
    const auto course = peer->courses.find(shard);
    store = store_.lock();
    sender = peer->sender;
    if (course == peer->courses.end() || store == nullptr || sender == nullptr) return;
    begins = course->second.stage == Stage::kAsk;
    // Updates are kept from here on, so that none is missing after the mark that is read next.
    if (begins) course->second.stage = Stage::kAsked;
    course->second.asked = true;
    if (course->second.sent > 0)
      course->second.sent_before_question = course->second.kept[course->second.sent - 1].made.version;
    question.term = term_;
    question.rewind = rewind_;
  }
  if (begins) {
    const ShardMark mark = store->Mark(shard);
    MutexLock lock(&mutex_);
    const auto course = peer->courses.find(shard);
    if (course == peer->courses.end() || course->second.stage != Stage::kAsked) return;
    if (mark.version < 0) {  // it was given away
      course->second.stage = Stage::kAsk;
      return;
    }
    course->second.base = mark;
    std::deque<Kept>& kept = course->second.kept;
    while (!kept.empty() && kept.front().made.version <= mark.version)
      ForgetLocked(peer.get(), &course->second, 1);
  }
  sender->Send(std::move(question), shard);
}

void Replicator::Copy(const std::shared_ptr<Peer>& peer, ShardId shard) {
  std::shared_ptr<ParameterStore> store;
  {
    MutexLock lock(&mutex_);
    store = store_.lock();
  }
  if (store == nullptr) return;
  // Under the shard's lock: the updates that follow are kept behind it.
  const absl::Status copied = store->Copy(shard, [&](ShardCopy copy) {
    MutexLock lock(&mutex_);
    const auto found = peer->courses.find(shard);
    if (found == peer->courses.end() || found->second.stage != Stage::kCopy) return;
    Course& course = found->second;
    course.stage = Stage::kCopying;
    course.base = copy.mark();
    for (ExchangeMessage& piece : ToMessages(copy))
      KeepLocked(peer.get(), &course, {copy.mark(), std::move(piece)});
    SendAgainLocked(peer.get(), shard);
  });
  if (copied.ok()) Send(peer);
}

}  // namespace tessera
