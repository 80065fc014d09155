// SPDX-License-Identifier: Apache-2.0
// The folder that an export fills: one data file, models that share it, and the checkpoint's own text files.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <onnx/onnx_pb.h>

#include "qwq/emit/onnx/external_data.hpp"
#include "qwq/io/file_set.hpp"
#include "qwq/io/mapped_file.hpp"

namespace qwq::to_onnx {

/// Collects the files of an export. They appear together, at `commit`: the data first, then in the order of the calls.
class export_folder {
 public:
  /// `data_name`: "name" or "folder/name"; the models that read it lie beside it.
  explicit export_folder(const std::filesystem::path& folder, const std::string& data_name)
      : files_(folder), data_(files_.add(data_name), std::filesystem::path(data_name).filename().string()) {}

  external_data& data() { return data_; }

  void add(const std::string& name, const ::onnx::ModelProto& model) {
    std::string bytes;
    if (!model.SerializeToString(&bytes))
      throw error(name + ": expected a model of less than 2 GB, found " + std::to_string(model.ByteSizeLong()) +
                  " bytes");
    files_.add(name).write(bytes);
  }
  void add(const std::string& name, const std::string& text) { files_.add(name).write(text); }

  /// Copies those of the named files that are in `from`.
  void copy_from(const std::filesystem::path& from, const std::vector<std::string>& names) {
    std::error_code ignored;
    for (const std::string& name : names)
      if (std::filesystem::exists(from / name, ignored)) files_.add(name).write(mapped_file(from / name).bytes());
  }

  std::vector<written_file> commit() { return files_.commit(); }

 private:
  file_set files_;
  external_data data_;
};

/// What a tokenizer and a model card need beside the models.
inline const std::vector<std::string> tokenizer_files{"tokenizer.json", "tokenizer_config.json", "vocab.json",
                                                      "merges.txt", "chat_template.jinja"};
inline const std::vector<std::string> config_files{"generation_config.json", "config.json"};

}  // namespace qwq::to_onnx
