// SPDX-License-Identifier: Apache-2.0
// Defines `export_folder`, the files of an ONNX export: models, the data file that they share, and text files.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include "qwq/emit/onnx/external_data.hpp"
#include "qwq/emit/onnx/onnx_check.hpp"
#include "qwq/emit/sidecar_files.hpp"
#include "qwq/io/file_set.hpp"

namespace qwq::to_onnx {

/// Collects the files of an export and checks each model as a whole. `commit` renames them together: the data file
/// first, then the others in the order of the calls.
class export_folder {
 public:
  /// `data_name`: "name" or "folder/name"; the models that refer to the file are in the same folder.
  export_folder(const std::filesystem::path& folder, const file_handling& how, const std::string& data_name)
      : files_(folder, how), data_(files_.add(data_name), std::filesystem::path(data_name).filename().string()) {}

  /// The data file.
  external_data& data() { return data_; }

  /// Adds a model. Throws `error` if it has 2 GB or more without its data.
  void add(const std::string& name, const ::onnx::ModelProto& model) {
    std::string bytes;
    if (!model.SerializeToString(&bytes))
      throw error(name + ": expected a model of less than 2 GB, found " + std::to_string(model.ByteSizeLong()) +
                  " bytes");
    output_file& file = files_.add(name);
    file.write(bytes);
    if (const auto whole = file.whole()) check_file(whole->bytes(), file.name(), data_.location(), data_.size());
  }
  /// Adds a text file.
  void add(const std::string& name, const std::string& text) { files_.add(name).write(text); }

  /// Copies the named files from `from`. Names that do not exist there are skipped.
  void copy_from(const std::filesystem::path& from, const std::vector<std::string>& names) {
    copy_files(files_, from, names);
  }

  /// Renames all files into the folder; returns them in that order.
  std::vector<written_file> commit() { return files_.commit(); }

 private:
  file_set files_;
  external_data data_;
};

}  // namespace qwq::to_onnx
