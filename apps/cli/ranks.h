// This process as one of several that mpirun started. Rank 0 prints and writes files; the others do
// the same work in silence, in a folder of their own that is gone afterwards.
#pragma once

#include <filesystem>
#include <string>

#include "core/communicator.h"

namespace tessera::apps {

// Null: alone.
Communicator* world();
// Rank 0, or alone.
bool leads();

// Joins the others, if there are any: silences all but rank 0, gives each rank its share of the
// cores, and throws Error where programs or command lines differ.
void join_world(int argc, char** argv);
// Ends the process's part; nothing is sent after it.
void leave_world(int code);

// Throws Error where `what` was started by mpirun.
void require_alone(const std::string& what);

// The folder in which a rank that does not lead keeps what it would write to `out`. It begins with
// what rank 0 has there under names that begin with `prefix`, so that all ranks find the same; all
// of them call this.
std::filesystem::path own_folder(const std::string& out, const std::string& prefix);

}  // namespace tessera::apps
