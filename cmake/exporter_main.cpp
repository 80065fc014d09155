// SPDX-License-Identifier: Apache-2.0
// The command line of exporters, which does not depend on a model: compiled once for all of a build.
#include <qwq/cli/main.hpp>

int qwq_exporter_main(const qwq::exporter_model& model, int argc, char** argv,
                      std::span<const qwq::exporter_part> parts) {
  return qwq::exporter_main(model, argc, argv, parts);
}
