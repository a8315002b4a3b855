// Ranks that are threads of one process: what several do together, without MPI.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "core/communicator.h"

namespace tessera::testing {

// Messages between threads.
struct Mailbox {
  std::mutex mutex;
  std::map<std::tuple<int, int, std::int64_t>, std::vector<std::byte>> letters;  // from, to, tag
  std::string given_up;
};

class ThreadRank final : public Communicator {
 public:
  // `slow`: how often it is asked in vain before a letter is handed out.
  ThreadRank(std::shared_ptr<Mailbox> box, int rank, int size, int slow)
      : box_(std::move(box)), rank_(rank), size_(size), slow_(slow) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::unique_ptr<Pending> exchange(std::int64_t tag, Parts parts, Places places) override;
  void give_up(const std::string& why) override;

 protected:
  void look() override;

 private:
  std::shared_ptr<Mailbox> box_;
  int rank_, size_, slow_;
};

// Runs body(rank's communicator) in a thread for each rank. What a rank throws the others hear, and
// is thrown here, of the first rank that threw something of its own. `slow`: rank r answers
// r * slow turns late.
void on_ranks(int size, const std::function<void(Communicator&)>& body, int slow = 0);

}  // namespace tessera::testing
