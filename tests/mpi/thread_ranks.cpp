#include "tests/mpi/thread_ranks.h"

#include <cstring>
#include <exception>
#include <thread>

#include "core/parallel.h"

namespace tessera::testing {

namespace {

class Letters final : public Pending {
 public:
  Letters(std::shared_ptr<Mailbox> box, int rank, std::int64_t tag, Communicator::Places places,
          int slow)
      : box_(std::move(box)), rank_(rank), tag_(tag), slow_(slow) {
    places_.assign(places.begin(), places.end());
    places_[static_cast<std::size_t>(rank)] = {};
  }
  bool advance() override {
    if (slow_-- > 0) return false;
    const std::lock_guard lock(box_->mutex);
    bool done = true;
    for (std::size_t r = 0; r < places_.size(); ++r) {
      if (places_[r].empty()) continue;
      const auto found = box_->letters.find({static_cast<int>(r), rank_, tag_});
      if (found == box_->letters.end()) {
        done = false;
        continue;
      }
      check(found->second.size() == places_[r].size(), "rank ", r, " sent ", found->second.size(),
            " bytes, expected ", places_[r].size());
      std::memcpy(places_[r].data(), found->second.data(), places_[r].size());
      box_->letters.erase(found);
      places_[r] = {};
    }
    return done;
  }

 private:
  std::shared_ptr<Mailbox> box_;
  int rank_;
  std::int64_t tag_;
  int slow_;
  std::vector<std::span<std::byte>> places_;
};

}  // namespace

std::unique_ptr<Pending> ThreadRank::exchange(std::int64_t tag, Parts parts, Places places) {
  const auto own = static_cast<std::size_t>(rank_);
  if (!places[own].empty()) std::memcpy(places[own].data(), parts[own].data(), places[own].size());
  {
    const std::lock_guard lock(box_->mutex);
    for (int r = 0; r < size_; ++r) {
      const auto part = parts[static_cast<std::size_t>(r)];
      if (r != rank_ && !part.empty())
        box_->letters.emplace(std::tuple(rank_, r, tag), std::vector(part.begin(), part.end()));
    }
  }
  count(parts);
  return std::make_unique<Letters>(box_, rank_, tag, places, rank_ * slow_);
}

void ThreadRank::give_up(const std::string& why) {
  const std::lock_guard lock(box_->mutex);
  if (box_->given_up.empty()) box_->given_up = cat("rank ", rank_, ": ", why);
}

void ThreadRank::look() {
  const std::lock_guard lock(box_->mutex);
  if (!box_->given_up.empty()) throw CommunicationError(box_->given_up);
}

void on_ranks(int size, const std::function<void(Communicator&)>& body, int slow) {
  const auto box = std::make_shared<Mailbox>();
  std::vector<std::exception_ptr> own(static_cast<std::size_t>(size)), others = own;
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r) {
    threads.emplace_back([&, r] {
      ThreadRank rank(box, r, size, slow);
      const SerialScope serial;
      try {
        body(rank);
      } catch (const CommunicationError&) {
        others[static_cast<std::size_t>(r)] = std::current_exception();
      } catch (const std::exception& error) {
        own[static_cast<std::size_t>(r)] = std::current_exception();
        rank.give_up(error.what());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto* list : {&own, &others}) {
    for (const std::exception_ptr& error : *list) {
      if (error) std::rethrow_exception(error);
    }
  }
}

}  // namespace tessera::testing
