// SPDX-License-Identifier: Apache-2.0
// Defines `copy_files`, which copies the checkpoint's tokenizer and config files to an export.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "qwq/io/file_set.hpp"
#include "qwq/io/mapped_file.hpp"
#include "qwq/io/presence.hpp"

namespace qwq::to_file {

/// Files of the tokenizer and the chat template.
inline const std::vector<std::string> tokenizer_files{"tokenizer.json", "tokenizer_config.json", "vocab.json",
                                                      "merges.txt", "chat_template.jinja"};
/// Config files of the model and its generation defaults.
inline const std::vector<std::string> config_files{"generation_config.json", "config.json"};

/// Copies the named files to `to`. Names that do not exist in `from` are skipped.
inline void copy_files(file_set& to, const std::filesystem::path& from, const std::vector<std::string>& names) {
  for (const std::string& name : names)
    if (qwq::detail::is_present(from / name)) to.add(name).write(mapped_file(from / name).bytes());
}

}  // namespace qwq::to_file
