// SPDX-License-Identifier: Apache-2.0
// The writers of the targets that are Circle or TFLite files: compiled once for all exporters of a build. Shapes are in
// the graphs, so the options of the targets do not matter here.
#include <qwq/cli/exporter_part.hpp>
#include <qwq/emit/circle/circle_files.hpp>

using qwq::file_writer, qwq::to_file::write_files;

extern const file_writer qwq_files_circle = &write_files<qwq::circle<>>;
extern const file_writer qwq_files_circle_qdq = &write_files<qwq::circle_qdq<>>;
extern const file_writer qwq_files_tflite = &write_files<qwq::tflite<>>;
