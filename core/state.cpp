#include "core/state.h"

#include <algorithm>
#include <atomic>

#include "core/error.h"
#include "core/text.h"

namespace tessera {

namespace {

std::uint64_t next_version() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace

const State::Entry& State::at(std::string_view name) const {
  const auto it = entries_.find(name);
  check(it != entries_.end(), "the state has no entry ", Quoted{name});
  return it->second;
}

void State::set(std::string_view name, Tensor tensor) {
  check(tensor.defined(), "state ", Quoted{name}, " cannot be set to an undefined tensor");
  auto it = entries_.find(name);
  if (it == entries_.end()) it = entries_.emplace(name, Entry{}).first;
  it->second = {std::move(tensor), next_version()};
}

bool State::erase(std::string_view name) {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return false;
  entries_.erase(it);
  return true;
}

void State::mark_updated(std::string_view name) {
  at(name);
  entries_.find(name)->second.version = next_version();
}

std::vector<std::string> State::names() const {
  std::vector<std::string> out;
  for (const auto& [name, entry] : entries_) out.push_back(name);
  return out;
}

std::int64_t State::bytes() const {
  std::int64_t n = 0;
  for (const auto& [name, entry] : entries_) n += entry.tensor.bytes();
  return n;
}

std::map<std::string, Tensor> State::tensors() const {
  std::map<std::string, Tensor> out;
  for (const auto& [name, entry] : entries_) out.emplace(name, entry.tensor);
  return out;
}

State State::clone() const {
  State out;
  for (const auto& [name, entry] : entries_) out.set(name, entry.tensor.clone());
  return out;
}

bool equal_bits(const State& a, const State& b) {
  return std::equal(a.entries().begin(), a.entries().end(), b.entries().begin(), b.entries().end(),
                    [](const auto& x, const auto& y) {
                      return x.first == y.first && equal_bits(x.second.tensor, y.second.tensor);
                    });
}

}  // namespace tessera
