// SPDX-License-Identifier: Apache-2.0
// Copies the checkpoint's own text files beside what is emitted.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "qwq/io/file_set.hpp"
#include "qwq/io/mapped_file.hpp"
#include "qwq/io/presence.hpp"

namespace qwq::to_file {

/// What a tokenizer and a model card need beside the models.
inline const std::vector<std::string> tokenizer_files{"tokenizer.json", "tokenizer_config.json", "vocab.json",
                                                      "merges.txt", "chat_template.jinja"};
inline const std::vector<std::string> config_files{"generation_config.json", "config.json"};

/// Copies those of the named files that are in `from`.
inline void copy_files(file_set& to, const std::filesystem::path& from, const std::vector<std::string>& names) {
  for (const std::string& name : names)
    if (qwq::detail::is_present(from / name)) to.add(name).write(mapped_file(from / name).bytes());
}

}  // namespace qwq::to_file
