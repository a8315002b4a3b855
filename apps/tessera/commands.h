// The commands of the `tessera` tool. Each takes its arguments and returns the exit code; what is
// wrong with them or with a file is thrown.
#pragma once

#include <string>
#include <vector>

namespace tessera::apps {

int import_command(const std::vector<std::string>& args);
int inspect_command(const std::vector<std::string>& args);
// Exit code 1 where the models differ.
int diff_command(const std::vector<std::string>& args);
int plan_command(const std::vector<std::string>& args);
int sensitivity_command(const std::vector<std::string>& args);
int bench_command(const std::vector<std::string>& args);
int bench_kernels_command(const std::vector<std::string>& args);  // bench kernels
int merge_command(const std::vector<std::string>& args);
int verify_command(const std::vector<std::string>& args);
int recode_command(const std::vector<std::string>& args);
int export_command(const std::vector<std::string>& args);
int report_command(const std::vector<std::string>& args);
int ops_command(const std::vector<std::string>& args);

}  // namespace tessera::apps
