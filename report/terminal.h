// What a terminal holds: its width, and text cut to it.
#pragma once

#include <ostream>
#include <string>

namespace tessera::experiment {

// Columns of the terminal behind a file descriptor: as the system says, else COLUMNS, else 80. 0:
// it is no terminal, and a line may have any length.
int terminal_columns(int descriptor);
// The same for std::cout and std::cerr; 0 for other streams.
int terminal_columns(const std::ostream& out);

// Paragraphs broken at spaces into lines of at most `columns`; 0: of at most 100.
std::string wrapped(const std::string& text, int columns);

}  // namespace tessera::experiment
