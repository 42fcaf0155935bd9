#include "base/threads.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace wf {
namespace {

// The threads live as long as the program: a converter asks a few hundred times.
class Pool {
 public:
  explicit Pool(unsigned threads) {
    for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { serve(); });
  }
  ~Pool() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    begin_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  void run(int64_t count, const std::function<void(int64_t)>& action) {
    {
      const std::lock_guard lock(mutex_);
      action_ = &action;
      count_ = count;
      next_ = 0;
      error_ = nullptr;
      busy_ = threads_.size();
      ++round_;
    }
    begin_.notify_all();
    work();
    std::unique_lock lock(mutex_);
    end_.wait(lock, [this] { return busy_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void work() {
    for (int64_t i = next_++; i < count_; i = next_++) {
      try {
        (*action_)(i);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
        next_ = count_;
      }
    }
  }

  void serve() {
    for (uint64_t served = 0;;) {
      std::unique_lock lock(mutex_);
      begin_.wait(lock, [&] { return stop_ || round_ != served; });
      if (stop_) return;
      served = round_;
      lock.unlock();
      work();
      lock.lock();
      if (--busy_ == 0) end_.notify_one();
    }
  }

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable begin_, end_;
  const std::function<void(int64_t)>* action_ = nullptr;
  int64_t count_ = 0;
  std::atomic<int64_t> next_ = 0;
  std::exception_ptr error_;
  std::size_t busy_ = 0;
  uint64_t round_ = 0;
  bool stop_ = false;
};

}  // namespace

void parallel_for(int64_t count, const std::function<void(int64_t)>& action) {
  static Pool pool(std::max(std::thread::hardware_concurrency(), 1U) - 1);
  if (count == 1) return action(0);
  pool.run(count, action);
}

}  // namespace wf
