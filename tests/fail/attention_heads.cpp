// SPDX-License-Identifier: Apache-2.0
// Query heads that do not share the key/value heads evenly.
// expect: qwq::layer::attention requires Heads to be a multiple of KvHeads
#include <qwq/layer/layers.hpp>

using namespace qwq;

static_assert(sizeof(layer::attention<128, 4, 2, 64, 512>) > 0);
#ifdef FAIL
static_assert(sizeof(layer::attention<128, 5, 2, 64, 512>) > 0);
#endif
