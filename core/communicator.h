// Ranks: processes that train together, and how one of them talks to the others. The library knows
// this interface; mpi/ has the one over MPI, tests one of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"

namespace tessera {

// Another rank is gone, gave up, or did not answer.
class CommunicationError : public Error {
 public:
  using Error::Error;
};

// Something under way that goes on beside other work.
class Pending {
 public:
  virtual ~Pending() = default;
  // Does what can be done now and never waits. Whether all of it is done. Throws
  // CommunicationError.
  virtual bool advance() = 0;
};

// What a rank has sent, and how long it has waited for others.
struct Traffic {
  std::int64_t bytes = 0, messages = 0;
  double seconds = 0;
};

class Communicator {
 public:
  using Parts = std::span<const std::span<const std::byte>>;
  using Places = std::span<const std::span<std::byte>>;

  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Begins to send parts[r] to every rank r and to receive in places[r] what r sends; what this
  // rank sends itself is copied. All ranks exchange under the same tags (next_tag()) and know the
  // sizes. The memory stays where it is until it is done.
  virtual std::unique_ptr<Pending> exchange(std::int64_t tag, Parts parts, Places places) = 0;
  // Tells the other ranks, which then throw CommunicationError, why this one ends.
  virtual void give_up(const std::string& why) = 0;

  // Numbers of exchanges. All ranks begin them in the same order, whatever order they end in.
  std::int64_t next_tag() { return tag_++; }

  enum class Patience {
    usual,  // set_patience()
    any,    // another rank may be at long work: fitting, evaluating, saving
  };
  // Until it is done. Throws CommunicationError when patience ends, or when the process is
  // interrupted and the others do not answer.
  void wait(Pending& pending, Patience patience = Patience::usual);
  void set_patience(double seconds) { patience_ = seconds; }

  // What is under way without being waited for; progress() advances all of it.
  void enter(Pending& pending) { under_way_.push_back(&pending); }
  void leave(Pending& pending) { std::erase(under_way_, &pending); }
  void progress();

  const Traffic& traffic() const { return traffic_; }

 protected:
  // Throws CommunicationError where another rank has given up.
  virtual void look() = 0;
  // Of an exchange: what goes to others.
  void count(Parts parts);

 private:
  std::vector<Pending*> under_way_;
  std::int64_t tag_ = 0;
  double patience_ = 60;
  Traffic traffic_;
};

// What every rank gives, by rank. Texts may be of any length.
std::vector<std::string> all_gather(Communicator& ranks, const std::string& mine);
// What rank 0 gives.
std::string broadcast(Communicator& ranks, const std::string& mine);
// Whether any rank says so.
bool any_of(Communicator& ranks, bool mine);

// Part r of n elements that `ranks` ranks share evenly, in order: [begin, end), cut at multiples of
// `unit`.
struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
};
Range part_of(std::int64_t n, int rank, int ranks, std::int64_t unit = 1);

}  // namespace tessera
