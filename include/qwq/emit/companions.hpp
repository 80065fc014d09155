// SPDX-License-Identifier: Apache-2.0
// The checkpoint's own text files, which stand beside what is emitted.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "qwq/io/file_set.hpp"
#include "qwq/io/mapped_file.hpp"

namespace qwq::to_file {

/// What a tokenizer and a model card need beside the models.
inline const std::vector<std::string> tokenizer_files{"tokenizer.json", "tokenizer_config.json", "vocab.json",
                                                      "merges.txt", "chat_template.jinja"};
inline const std::vector<std::string> config_files{"generation_config.json", "config.json"};

/// Copies those of the named files that are in `from`.
inline void copy_files(file_set& to, const std::filesystem::path& from, const std::vector<std::string>& names) {
  std::error_code ignored;
  for (const std::string& name : names)
    if (std::filesystem::exists(from / name, ignored)) to.add(name).write(mapped_file(from / name).bytes());
}

}  // namespace qwq::to_file
