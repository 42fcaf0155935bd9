#include "data/prefetch.h"

namespace wf {

Prefetch::Prefetch(std::unique_ptr<DataSource> source, std::size_t depth)
    : source_(std::move(source)), depth_(depth) {}

Batch Prefetch::next() {
  if (!thread_.joinable()) start();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !queue_.empty(); });
  if (queue_.front().thrown) std::rethrow_exception(queue_.front().thrown);
  Item item = std::move(queue_.front());
  queue_.pop_front();
  lock.unlock();
  changed_.notify_all();
  given_ = std::move(item.after);
  return std::move(item.batch);
}

void Prefetch::state(StateVisitor& visit) {
  if (thread_.joinable()) {
    stop();
    given_.restore(*source_);
  }
  source_->state(visit);
}

void Prefetch::start() {
  given_ = Snapshot(*source_);
  thread_ = std::jthread([this](std::stop_token stopping) { run(stopping); });
}

void Prefetch::stop() {
  thread_ = {};  // asks it to stop and waits until it has
  queue_.clear();
}

void Prefetch::run(std::stop_token stopping) {
  while (!stopping.stop_requested()) {
    Item item;
    try {
      item.batch = source_->next();
      item.after = Snapshot(*source_);
    } catch (...) {
      item.thrown = std::current_exception();
    }
    const bool last = item.thrown != nullptr;
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, stopping, [&] { return queue_.size() < depth_; })) return;
    queue_.push_back(std::move(item));
    lock.unlock();
    changed_.notify_all();
    if (last) return;
  }
}

}  // namespace wf
