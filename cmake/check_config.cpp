// SPDX-License-Identifier: Apache-2.0
// Refuses a config.json as exporters do: qwq_add_exporter runs it when CMake configures.
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include <qwq/core/error.hpp>
#include <qwq/model/model_table.hpp>

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: check_config CONFIG.json\n", 2;
  std::ifstream file(argv[1], std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) return std::cerr << argv[1] << ": cannot read\n", 1;
  const qwq::json_problem problem = qwq::check_config(qwq::model_families{}, text);
  if (problem.ok()) return 0;
  std::cerr << qwq::detail::one_line(problem.message(argv[1])) << '\n';
  return 1;
}
