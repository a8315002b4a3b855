// State: the named tensors that live outside graphs (parameters, moments, running statistics, step,
// coefficients). Train, eval and tail graphs share one; a checkpoint is this map.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace tessera {

// Movable; clone() is the only copy, so that no two states share elements by accident. Reading from
// several threads is safe while nobody changes it.
class State {
 public:
  struct Entry {
    Tensor tensor;
    std::uint64_t version = 0;
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  State() = default;
  State(State&&) = default;
  State& operator=(State&&) = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // Adds or replaces an entry; shares the tensor's elements. Throws Error for an undefined tensor.
  void set(std::string_view name, Tensor tensor);
  // A handle that shares the elements: whoever writes to them calls mark_updated(name) afterwards.
  // Throws Error when there is no such entry, as mark_updated() and version() do.
  const Tensor& get(std::string_view name) const { return at(name).tensor; }
  bool has(std::string_view name) const { return entries_.contains(name); }
  bool erase(std::string_view name);  // whether it was there
  void mark_updated(std::string_view name);

  // Changes with set() and mark_updated(). No number is given twice in a process, not even to
  // another State, so equal versions mean unchanged elements.
  std::uint64_t version(std::string_view name) const { return at(name).version; }

  const Entries& entries() const { return entries_; }  // by name
  std::vector<std::string> names() const;
  std::size_t size() const { return entries_.size(); }
  std::int64_t bytes() const;                     // of all elements
  std::map<std::string, Tensor> tensors() const;  // handles, not copies
  State clone() const;

 private:
  const Entry& at(std::string_view name) const;

  Entries entries_;
};

// Same names, and under each the same dtype, shape and bytes.
bool equal_bits(const State& a, const State& b);

}  // namespace tessera
