// Words that people choose from: names of flags, verbs, methods, networks, presets, settings.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

// "a, b, c", with `last` before the last one: "a, b or c".
std::string listed(std::span<const std::string> words, std::string_view last = ", ");

// How many characters must be inserted, removed, replaced, or swapped with their neighbour.
int edit_distance(std::string_view a, std::string_view b);

// The one of `known` that was probably meant by `word`: the first of those with the fewest edits,
// at most one for every three characters, else one that begins with it. "" when nothing is near.
std::string closest(std::string_view word, std::span<const std::string> known);

// "; did you mean 'train'?", or "" when nothing is near: the end of a message about `word`.
std::string did_you_mean(std::string_view word, std::span<const std::string> known);

// Throws Error "WHAT: 'word' is unknown; did you mean 'train'? Known are train, eval".
[[noreturn]] void fail_unknown(std::string_view what, std::string_view word,
                               std::span<const std::string> known);
// The same unless `word` is among `known`.
void require_known(std::string_view what, std::string_view word,
                   std::span<const std::string> known);

}  // namespace tessera
