// Prepares batches ahead in a background thread.
#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "data/snapshot.h"
#include "data/source.h"

namespace wf {

// Gives what `source` gives, in the same order. The thread starts at next() and is stopped by
// state(), which first takes the source back to where the last next() left it: batches prepared
// ahead are given up and made again. What the thread throws, next() throws.
class Prefetch : public DataSource {
 public:
  explicit Prefetch(std::unique_ptr<DataSource> source, std::size_t depth = 2);
  Batch next() override;
  void state(StateVisitor& visit) override;
  std::vector<const TokenShards*> corpora() const override { return source_->corpora(); }

 private:
  struct Item {
    Batch batch;
    Snapshot after;             // the source's state after this batch
    std::exception_ptr thrown;  // instead of a batch; the last item
  };
  void start();
  void stop();
  void run(std::stop_token stopping);

  const std::unique_ptr<DataSource> source_;  // the thread's while it runs
  const std::size_t depth_;
  Snapshot given_;  // the source's state after the last batch that next() gave

  std::mutex mutex_;  // of queue_
  std::condition_variable_any changed_;
  std::deque<Item> queue_;
  std::jthread thread_;  // last: its destructor ends the thread while the rest is still there
};

}  // namespace wf
