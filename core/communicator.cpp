#include "core/communicator.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

#include "core/interrupt.h"

namespace tessera {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Other ranks answer within microseconds or are at work, perhaps on this very core.
void rest(double waited) {
  if (waited < 0.002) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(waited < 0.1 ? 50 : 1000));
  }
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// An interrupted process has 0.8 seconds to save what it has.
constexpr double kInterruptedPatience = 0.3;

}  // namespace

void Communicator::progress() {
  for (std::size_t i = 0; i < under_way_.size(); ++i) under_way_[i]->advance();
}

void Communicator::wait(Pending& pending, Patience patience) {
  const auto start = Clock::now();
  std::optional<Clock::time_point> stopped;
  while (!pending.advance()) {
    progress();
    look();
    const double waited = seconds_since(start);
    if (interrupted() && !stopped) stopped = Clock::now();
    if (stopped && seconds_since(*stopped) > kInterruptedPatience)
      throw CommunicationError("interrupted while the other ranks did not answer");
    if (patience == Patience::usual && waited > patience_)
      throw CommunicationError(cat("no answer from the other ranks for ", patience_, " seconds"));
    rest(waited);
  }
  traffic_.seconds += seconds_since(start);
}

void Communicator::count(Parts parts) {
  for (int r = 0; r < size(); ++r) {
    const auto bytes = static_cast<std::int64_t>(parts[static_cast<std::size_t>(r)].size());
    if (r == rank() || bytes == 0) continue;
    traffic_.bytes += bytes;
    ++traffic_.messages;
  }
}

std::vector<std::string> all_gather(Communicator& ranks, const std::string& mine) {
  const auto n = static_cast<std::size_t>(ranks.size());
  const auto swap = [&](std::span<const std::byte> part,
                        const std::vector<std::span<std::byte>>& to) {
    const std::vector<std::span<const std::byte>> parts(n, part);
    const auto pending = ranks.exchange(ranks.next_tag(), parts, to);
    ranks.wait(*pending, Communicator::Patience::any);
  };
  const std::uint64_t length = mine.size();
  std::vector<std::uint64_t> lengths(n);
  std::vector<std::span<std::byte>> places;
  for (std::uint64_t& l : lengths) places.push_back(std::as_writable_bytes(std::span(&l, 1)));
  swap(std::as_bytes(std::span(&length, 1)), places);
  std::vector<std::string> out(n);
  places.clear();
  for (std::size_t r = 0; r < n; ++r) {
    out[r].resize(lengths[r]);
    places.push_back(std::as_writable_bytes(std::span(out[r])));
  }
  swap(bytes_of(mine), places);
  return out;
}

std::string broadcast(Communicator& ranks, const std::string& mine) {
  return all_gather(ranks, ranks.rank() == 0 ? mine : std::string()).front();
}

bool any_of(Communicator& ranks, bool mine) {
  const auto all = all_gather(ranks, mine ? "1" : "");
  return std::ranges::any_of(all, [](const std::string& one) { return !one.empty(); });
}

Range part_of(std::int64_t n, int rank, int ranks, std::int64_t unit) {
  const std::int64_t units = (n + unit - 1) / unit;
  const auto at = [&](int r) { return std::min(n, units * r / ranks * unit); };
  return {at(rank), at(rank + 1)};
}

}  // namespace tessera
