// SPDX-License-Identifier: Apache-2.0
// Defines `read_config`, which reads a config struct from a file.
#pragma once

#include <filesystem>
#include <system_error>

#include "qwq/io/mapped_file.hpp"
#include "qwq/model/config_reader.hpp"

namespace qwq {

/// Reads a config file, or the config.json of a checkpoint folder: see `from_json`.
template <detail::reflected Config>
Config read_config(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto file = std::filesystem::is_directory(path, ignored) ? path / "config.json" : path;
  return from_json<Config>(mapped_file(file).text(), file.string());
}

}  // namespace qwq
