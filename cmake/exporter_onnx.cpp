// SPDX-License-Identifier: Apache-2.0
// The writers of the targets that are ONNX files: compiled once for all exporters of a build.
#include <qwq/cli/exporter_part.hpp>
#include <qwq/emit/onnx/genai_files.hpp>
#include <qwq/emit/onnx/standard_files.hpp>
#include <qwq/emit/onnx/winml_files.hpp>

using qwq::file_writer, qwq::to_file::write_files;

extern const file_writer qwq_files_onnx_winml = &write_files<qwq::onnx_winml>;
extern const file_writer qwq_files_onnx_standard = &write_files<qwq::onnx_standard>;
extern const file_writer qwq_files_onnx_standard_21 = &write_files<qwq::onnx_standard_21>;
extern const file_writer qwq_files_onnx_genai = &write_files<qwq::onnx_genai>;
